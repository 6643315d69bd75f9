"""English words that the cache's guard compares questions by: what may be exchanged for what, and what may never be.

Written for this library: words of questions about documents, software, organisations and daily life. A missing synonym makes
the guard stricter, which costs a recomputation; synonyms are therefore few: only words that ask the same wherever they stand.
A missing antonym is caught by the rule that two questions must not differ in one word alone.
"""

from __future__ import annotations


def _groups(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(line.split()) for line in text.strip().splitlines())


FUNCTION_WORDS = frozenset(
    """a an the this that these those there here it its itself i me my mine myself we us our ours ourselves you your yours yourself
    yourselves he him his himself she her hers herself they them their theirs themselves one ones oneself who whom whose which what
    when where why how is am are was were be been being do does did doing done has have had having can could may might must shall
    should will would of in on at by for from to into onto with within about as than then and or but if so such some any anyone
    anything someone something somebody anybody somewhere anywhere while because since until till through throughout during
    between among against toward towards per via upon along across around near up down out off over under above below before
    after again too very really actually exactly quite rather please just even ever now also get gets getting got go goes going
    let lets want wants need needs like would'd vs versus whether though although yes ok okay etc eg ie both either neither nor not no
    never without cannot able much many more most less least few""".split()
)
"""Words that carry no subject. Those that decide what is asked (`not`, `without`, `from`, `most`, …) have rules of their own."""

FILLERS = frozenset(
    """good best great nice top better cool awesome amazing favourite favorite proper properly right effective effectively efficient
    efficiently possible possibly way ways method methods thing things stuff kind kinds sort sorts type types tip tips idea ideas
    advice suggestion suggestions recommend recommended recommendation recommendations example examples know think opinion
    opinions mean means exist exists existing available consider considered various different certain several lot lots bit little
    tell give show explain describe list name named make makes making use uses used using people person located someone
    everyone world life time times currently basically generally usually typically normally simply easily quick quickly
    fast faster easy easiest fastest main major important interesting famous popular common well today way's do's step steps
    instruction instructions guide procedure process purpose date number""".split()
)
"""Words that a question may have more of without asking for anything else; they count only where they replace one another."""

NEGATIONS = frozenset(
    "not no never without cannot nor neither none nobody nothing nowhere hardly barely unable except excluding non lack lacks lacking".split()
)
"""Words that turn a statement round, contractions being written out first."""

PARTICLES = frozenset("out off outside away".split())
"""Words that make another verb or place of the one before them, as in `rent out` and `out of scope`."""

SCOPE = _groups("""
only solely exclusively
all every each entire whole everything everybody everywhere
always
both
most majority
more additional
less fewer
least fewest
first
last latest newest
next
previous former
current
still
already
else other another others
twice
half
again
""")
"""What narrows or widens a question; each line is one meaning."""

STRICT_IN_YES_NO = frozenset("all every each entire whole everything everybody everywhere always most majority".split())
"""Words of SCOPE that matter where the answer is yes or no, and only colour a list."""

STRICT_SCOPE = frozenset(
    "only solely exclusively both less fewer least fewest first last latest newest next previous former twice half".split()
)
"""Words of SCOPE that a question must not have alone."""

ANTONYMS = _groups("""
enable|enabled|activate|on disable|disabled|deactivate|off
increase|raise|grow|gain|rise|boost|maximize|maximise decrease|reduce|lower|shrink|lose|drop|fall|cut|minimize|minimise|decline
buy|purchase|acquire sell|vend
before|prior|until|till after|following|since|from
all|every|each|both some|few|several|certain|none|neither
with without
most least|fewest
more less|fewer
max|maximum|maximal|upper min|minimum|minimal|lower
first last|final|latest
earliest|early|earlier|oldest latest|late|later|newest
import export
upgrade downgrade
internal|inner|inside|inbound|incoming|ingress external|outer|outside|outbound|outgoing|egress
allow|permit|grant|whitelist|allowlist|approve deny|forbid|prohibit|block|ban|refuse|reject|revoke|blacklist|denylist
start|begin|launch|open|resume stop|end|finish|terminate|quit|pause|close|shut|halt|suspend
sync|synchronous|synchronously async|asynchronous|asynchronously
add|append|insert|attach|install|create|include remove|delete|drop|detach|uninstall|destroy|exclude|erase
accept|confirm reject|decline|refuse|cancel
encrypt|encode|compress|pack|serialize|serialise|marshal decrypt|decode|decompress|unpack|deserialize|deserialise|unmarshal
upload|push|send|publish|write|produce|producer|sender|writer|publisher download|pull|receive|subscribe|read|consume|consumer|receiver|reader|subscriber
lock|locked unlock|unlocked
show|display|expose|reveal|visible hide|conceal|hidden|invisible
connect|join|link|mount|couple|bind disconnect|leave|unlink|unmount|decouple|unbind
up|upward|upstream|upstairs down|downward|downstream|downstairs
above|over|exceed|higher|greater|larger|bigger|longer|taller below|under|beneath|lower|smaller|shorter
high|tall|long|big|large|huge|major|great low|short|small|tiny|little|minor
fast|quick|rapid|faster|quicker|speed slow|slower
good|better|best|positive|pro|pros|advantage|advantages|benefit|benefits|strength|strengths|upside bad|worse|worst|negative|con|cons|disadvantage|disadvantages|drawback|drawbacks|weakness|weaknesses|downside
highest|largest|biggest|longest|tallest lowest|smallest|shortest
old|older|outdated|deprecated new|newer|fresh|young|younger
hot|warm|heat|warmer|hottest|heating cold|cool|colder|coldest|cooling
left right
north|northern south|southern
east|eastern west|western
love|like hate|dislike
male|man|men|boy|boys|husband|father|brother|son|uncle|king|he|him|his|guy|guys|boyfriend female|woman|women|girl|girls|wife|mother|sister|daughter|aunt|queen|she|her|hers|lady|girlfriend
parent|parents|ancestor|superclass|superior child|children|descendant|subclass|subordinate
live|alive|living|life|survive|birth|born dead|die|death|died|deceased
win|won|succeed|success|successful|pass|passed lose|lost|fail|failure|failed|unsuccessful|failing
true|correct|right|valid false|incorrect|wrong|invalid
easy|easiest|simple|simplest hard|difficult|hardest|complex|complicated
cheap|cheapest|cheaper expensive|dearer|priciest
safe|secure|safety unsafe|insecure|dangerous|risky|danger|risk
public|open private|closed|secret|confidential
online|remote|remotely offline|onsite|local|locally
local|client|frontend remote|server|backend
manual|manually|hand automatic|automatically|automated
static|immutable|constant dynamic|mutable|variable
synchronised parallel|concurrent
horizontal|horizontally|row|rows vertical|vertically|column|columns
odd even
always|constantly sometimes|occasionally|rarely|seldom|often
with instead
same|identical|equal different|distinct|other|another
ascend|ascending descend|descending
input|inputs output|outputs
source|origin|sender destination|target|recipient
request|question|ask response|answer|reply
employer|boss|manager employee|subordinate|report
teacher|teach|instructor|mentor student|learn|pupil|mentee
buyer|customer|client seller|vendor|supplier
doctor patient
borrow|borrower|debtor|owe lend|lender|creditor
rent|tenant|lease landlord|own
earn|save|income|revenue|profit spend|waste|expense|expenses|expenditure|loss
credit|asset|assets|deposit debit|liability|liabilities|withdraw|withdrawal
supply demand
arrive|arrival|enter|entry|entrance|come depart|departure|exit|leave|go
attack|offense|offensive defend|defense|defence|defensive
push pull
primary|master|leader secondary|replica|follower|slave|standby
optional|voluntary required|mandatory|obligatory|compulsory
temporary|temporarily|ephemeral|transient permanent|permanently|persistent
full|complete|completely empty|partial|partially|incomplete
single|singular multiple|plural|many
rich|wealthy|wealth poor|poverty
strong|stronger|strongest weak|weaker|weakest
light|lightweight|lighter heavy|heavyweight|heavier|dark
wet|humid dry|arid
day|morning|daytime night|evening|nighttime
today|now yesterday|tomorrow
yesterday today|tomorrow
agree|support|favor|favour|pro disagree|oppose|against|anti
include|including|inclusive exclude|excluding|exclusive|except
legal|lawful illegal|unlawful
healthy unhealthy|sick
cause|causes|reason effect|effects|consequence|consequences|symptom|symptoms|treatment|cure
cause|trigger prevent|avoid
introvert|introverts|introverted extrovert|extroverts|extroverted
gain|weight-gain lose|loss
liberal|democrat|democrats|democratic conservative|republican|republicans
theory|theoretical practice|practical
qualitative quantitative
analog|analogue digital
acid|acidic base|basic|alkaline
import|imported|imports export|exported|exports
ingest|ingestion emit|emission
merge|combine split|separate
expand|extend|widen|zoom-in collapse|contract|narrow
forward|forwards|ahead|next backward|backwards|back|previous
commit rollback|revert
promote|promotion demote|demotion
hire|hired|recruit fire|fired|layoff|dismiss
marry|married|marriage divorce|divorced
freeze|frozen thaw|melt
verify|trust distrust
""")
"""Two sides per line, exchangeable within a side at most: one side in the first question and the other in the second is a contradiction."""

SYNONYMS = _groups("""
write author
search seek
retrieve recover
purpose goal aim
prevention prevent
gift present
genetic hereditary
gasoline petrol
flight fly
density dense
cinema film movie
attractive beautiful
accomplish achieve attain
aeroplane airplane plane aircraft
apartment flat
application app
arrange organise organize
assist help
assistance aid
associate partner
automobile car
begin start commence
belly stomach tummy
big large huge
biotechnology biotech
bug defect
build construct
business company firm
buy purchase
capability ability
cellphone mobile smartphone handset phone telephone
cheap inexpensive
child children kid
choose pick select
clever intelligent smart
colour color
configuration config configure
cope deal handle
create build make develop
credential password login
crucial essential
cure heal
decrease reduce lower lessen curb diminish
delete remove erase
difference distinction differ
difficult hard tough
discover find
doc document documentation
doctor physician
drawback disadvantage con downside
earth world
employee worker
error mistake
exam examination
favourite favorite
finish complete
fix repair
flavour flavor
folder directory
forgive pardon
garbage trash rubbish
gather collect
get obtain
government govt
happen occur
happy glad
hate dislike
height tall
house home
illness disease
image picture photo photograph pic
necessary required
improve enhance
increase boost raise
india indian
inform notify
information info
internet web online
issue problem trouble
job work career
judgement judgment
laptop notebook
lawyer attorney
learn study
life live
maximum max
merge combine
minimum min
mother mom mum
novel book
organisation organization
pc computer
percent percentage
postgres postgresql
prepare preparation
plus advantage pro benefit upside
programme program
quick fast rapid
quit leave
recover restore regain
repository repo
result outcome
salary wage
scared afraid
sick ill
site website webpage
sofa couch
solve resolve
speak talk
stupid dumb
suitable appropriate
teenager teen teenage
understand comprehend
usa us america american
uk britain british
use utilize utilise usage
user username
vacation holiday
view watch see
visible seen
wealthy rich
woman lady female
man male guy gentleman
""")
"""Words that may stand for one another; matched by stem. The first line that names a word counts."""

PHRASES = {
    phrase: word if word != "-" else ""
    for word, _, phrases in (
        line.partition(": ")
        for line in """\
-: by myself, by yourself, each other, turned out, turns out, of all time, on my own, on your own, or not
backup: back up
besides: aside from
cancel: call off
decrease: go down, turn down
deploy: roll out
disable: switch off, turn off
discover: find out
discovered: found out
enable: switch on, turn on
free: for free
increase: go up, turn up
leave: get out of
login: log in, log into, log on, sign in, sign into
logout: log out, sign out
maintain: look after, take care of
maintained: taken care of
many: a lot of
new york: new york city
now: at the moment
perform: carry out
phone: cell phone, mobile phone
phones: cell phones, mobile phones
quit: give up
recover: get back
remove: get rid of, get rid off
responsible: in charge of, responsible for
rollback: roll back
sent: go out, gone out, went out
setup: set up
shutdown: shut down
signup: sign up
than: rather than
to: in order to
uk: united kingdom
usa: united states, united states of america
website: web site
without: with no""".splitlines()
    )
    for phrase in phrases.split(", ")
}
"""Several words that mean one; the longest match counts, and an empty meaning says nothing."""

IRREGULAR = {
    form: base
    for base, *forms in map(
        str.split,
        """analysis analyses; appendix appendices; be been; beat beaten; become became; begin began begun; break broke broken; bring
    brought; build built; buy bought; catch caught; child children; choose chose chosen; criterion criteria; deal dealt; draw drew
    drawn; drive drove driven; eat ate eaten; fall fell fallen; feel felt; fight fought; find found; fly flew flown; foot feet;
    forget forgot forgotten; freeze froze frozen; get got gotten; give gave given; grow grew grown; hide hid hidden; hold held;
    index indices indexes; keep kept; know knew known; lead led; leave left; lend lent; life lives; lose lost; make made; man men;
    matrix matrices; mean meant; medium media; meet met; overtake overtook overtaken; pay paid; person persons; ride rode ridden;
    ring rang rung; rise rose risen; run ran; say said; see saw seen; seek sought; sell sold; send sent; shake shook shaken; show
    showed shown; sing sang sung; sleep slept; speak spoke spoken; spend spent; stand stood; steal stole stolen; swim swam; take
    took taken; teach taught; tell told; think thought; throw threw thrown; tooth teeth; understand understood; vertex vertices;
    wear wore worn; wife wives; win won; woman women; write wrote written""".split(";"),
    )
    for form in forms
}
"""Forms that stemming does not bring together."""

PAST_FORMS = frozenset(
    """became began broke brought built bought caught chose dealt drew drove ate fell felt fought found flew forgot froze gave grew hid
    held kept knew led left lent lost made meant met overtook paid ran rang rode rose said sang sat saw sent shook slept sold sought
    spent spoke stole stood swam taught thought threw told took understood went won wore wrote""".split()
)
"""Irregular past tenses that are no present tense as well."""
