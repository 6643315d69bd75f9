"""Given names and the short forms that people really use for them. General knowledge, written for this project; each line is one group."""

from __future__ import annotations

from functools import lru_cache

_GROUPS = """
abigail abby gail
abraham abe abram
albert al bert bertie albrecht
alexander alex alec sandy sasha sacha xander alejandro aleksander alexandru alessandro aleksandr olek alek
alexandra alex sandra sasha alexa lexi sandy aleksandra ola alessandra alejandra
alfred al fred alf alfie
alice ali alicia alisa ally
amanda mandy
amelia amy millie
andrew andy drew andreas andrei andrzej andre anders andrea ondrej
angela angie
anna ann anne annie nan anya ania hannah ana anka
anthony tony antonio anton antoni antoine tonio
antonia toni antonina
arthur art artie artur
barbara barb babs basia barbora
benjamin ben benny benji
bernard bernie bernardo bernd bernhard
beatrice bea trixie beatriz beatrix
bradley brad
calvin cal
cameron cam
caroline carol carrie caro karolina carolina karoline
catherine cathy kate katie kathy cat cathleen katherine kathryn katharine kathleen kitty katrina katarzyna kasia katka catalina caterina ekaterina katya katja katarina katrin kaja
charles charlie chuck chas carlos carlo karl carl karel
charlotte charlie lottie lotte
christian chris christiaan kristian krystian
christina chris tina christine chrissie kristina krystyna kirsten cristina
christopher chris topher kit kris cristobal krzysztof kristof krzysiek
clifford cliff
constance connie
cynthia cindy
daniel dan danny daniil danilo dani
daniela dani danielle
david dave davey dawid davide
deborah deb debbie debra
dennis denny denis
donald don donnie
dorothy dot dottie dorothea dorota
douglas doug
edward ed eddie ted teddy ned eduardo edvard edouard edek
eleanor ellie nell nora eleonora leonor
elizabeth liz lizzie beth betty eliza elsie betsy lisa libby elisabeth isabel elspeth elzbieta ela elisabetta bettina lise erzsebet
emily em emmy emilia
emma em
eric rick erik erich
eugene gene evgeny yevgeny eugenio zhenya
evelyn evie
francis frank fran franciszek francisco paco pancho francesco franz francois franek frans
frances fran fanny francesca francisca franziska francoise
frederick fred freddie fritz federico frederik friedrich fryderyk
gabriel gabe gabor gabriele
gabriela gabi gabby gabrielle
geoffrey geoff jeff jeffrey
george georgie jorge giorgio georg jerzy jurek jiri yuri gyorgy
gerald gerry jerry gerard gerardo gerhard
gregory greg gregor grzegorz gregorio grigory
guillermo memo guille william
gwendolyn gwen
harold harry hal
henry harry hank henrik henri enrique heinrich hendrik enrico heinz henryk
herbert herb bert
howard howie
hugh hugo huw
ignacio nacho ignacy ignatius
irene irena irina ira
isabella bella izzy isabel isabelle izabela iza
jacob jake jakob jakub kuba jacobo giacomo
jacqueline jackie
james jim jimmy jamie jem diego jaime
janet jan jane
jane janie janina joanna joan jean giovanna juana johanna jana asia
jennifer jen jenny jenna
jeremy jerry jem jeremiah
jessica jess jessie
jesus chuy chucho
joanna jo joann asia joanne
johann hans johannes jan john johan hannes
john jack johnny jan juan ivan giovanni jean ian sean ewan evan johann hans joao janos vanya janek yann
jonathan jon jonny nathan
joseph joe joey jose josef giuseppe beppe pepe jozef iosif youssef yusuf yosef jozek josip
josephine jo josie josefina
joshua josh
judith judy jutta judyta
julia jules julie giulia julita yulia
julian jules julio julius julien
katarzyna kasia kaska
kenneth ken kenny
kimberly kim
konstantin kostas kostya constantine konstantinos
krzysztof krzysiek
laura laurie lora
lawrence larry laurie lars lorenzo laurent lorenz laurence wawrzyniec
leonard leo len lenny leonardo leonhard
leroy lee roy
leslie les
lillian lily lil liliana
louis lou louie luis luigi ludwig lewis ludwik
louise lou louisa luisa ludwika
lucas luke luca lukas lukasz luc
lucy lucia lucie luz
magdalena magda lena maddie madeleine
malcolm mal
malgorzata gosia margaret margareta
manuel manny manolo manu emanuel
marcus mark marc marek marco marcos markus
margaret maggie meg peggy marge margie greta rita daisy marguerite margarita margot margarethe madge margherita margaux malgorzata gosia
maria mary marie mia mitzi marija marysia masha mariya maja
martin marty marcin martijn martino
martha marta marty
mary molly polly mae maria marie maire
matthew matt matty mateusz mateo matteo matthias mathieu matej matti matthijs
maureen mo
maurice mo moritz mauricio maurizio morris
maximilian max maks massimiliano
melissa mel missy
michael mike mick mickey mikey michel miguel mikhail misha michal michele mihai mihail mitch mikael
michelle shelly michele
mildred millie
miriam miri mimi
mitchell mitch
mohammed mo mohamed muhammad mohammad mehmet muhammed
nancy nan
natalie nat natalia natasha natalya
nathaniel nat nate nathan
nicholas nick nicky nico nicolas nikolai kolya nikolaus klaus mikolaj nikola niccolo miklos nils niels klaas
nicole nicky nikki nicola
norman norm
oliver ollie olivier
olivia liv livvy
oluwaseun seun
oscar oskar
pamela pam
patricia pat patty trish tricia patti
patrick pat paddy patryk patrice patricio padraig
paul paulie pablo paolo pavel pawel paulo pal paavo
paula pauline paulina
peter pete pedro pietro piotr petr pierre pyotr piet pieter peder per petros piotrek
philip phil pip felipe philippe filip filippo phillip
priscilla cilla
rachel rae rachael raquel rahel
rafael raf rafa rafal raphael raffaele
raymond ray ramon raimund
rebecca becky becca rebekah
regina gina reggie
reginald reg reggie
richard rick dick rich richie ricky ricardo riccardo ryszard rysiek
robert bob rob bobby robbie bert rupert roberto robin
roberta bobbie
rodney rod
roger rog rodger ruggero rogelio
ronald ron ronnie
rosemary rose rosie
rudolf rudi rolf rudy rodolfo
russell russ
samuel sam sammy samuil
samantha sam sammie
sarah sally sara sadie
sebastian seb bastian basti bas
sergei serge sergio seryozha sergey
sharon shari
stanislaw stan staszek stas stanislav
stanley stan
stephanie steph stefania
stephen steve stevie steven stefan esteban stefano etienne istvan szczepan steffen stephan
susan sue susie suzanne sukie zuzanna susanna susanne zsuzsa
svetlana sveta lana
sylvester sly syl
tadeusz tadek thaddeus tad
teresa terry tess tessa theresa tracy therese
terence terry
theodore ted teddy theo teodor fyodor fedor theodor
thomas tom tommy tomas tomasz tomek tommaso thom tamas
timothy tim timmy timofey
valentina val valya
valerie val
veronica ronnie vera weronika veronique
victor vic viktor vittorio wiktor
victoria vicky tori vicki viktoria
vincent vince vinny vincenzo vicente
virginia ginny
vladimir vlad volodya wladimir vladimiro volodymyr wlodzimierz
walter walt wally gualtiero
wendy gwendolyn
wilhelmina mina willa
william bill will billy willy liam wilhelm guillaume wim willem guglielmo vilhelm
winifred winnie
wojciech wojtek adalbert
yevgenia zhenya eugenia
yitzhak isaac ike izak itzik
zachary zach zack
zbigniew zbyszek
zofia sophie zosia sophia sofia sonja sonya
xavier javier javi
francisca paquita
dolores lola
rosario charo
guadalupe lupe
concepcion concha
gertrude trudy gertrud
johanna hanna anna joanna
wolfgang wolf
siegfried sigi
friederike rike
ekaterina katya
dmitry dima mitya dimitri dmitri dimitrios
mikhail misha
aleksei alyosha alexey alexei
ivan vanya
anastasia nastya stacy
tatiana tanya
olga olya
elena lena yelena helen helena ellen nell helene eleni ilona
lakshmi laxmi
subramaniam subra mani
venkatesh venkat
krishnamurthy krish krishna
umeshwar umesh
folasade sade
adebayo bayo ade
chukwuemeka emeka
oluwaseun seun
temitope tope
babatunde tunde
olufemi femi
ngozichukwu ngozi
"""


@lru_cache(maxsize=1)
def _groups_of() -> dict[str, frozenset[int]]:
    groups: dict[str, set[int]] = {}
    for number, line in enumerate(_GROUPS.strip().splitlines()):
        for name in line.split():
            groups.setdefault(name, set()).add(number)
    return {name: frozenset(numbers) for name, numbers in groups.items()}


def same_given_name(one: str, other: str) -> bool:
    """Whether two given names, folded to lower-case ASCII, are forms of one."""
    groups = _groups_of()
    return bool(groups.get(one, frozenset()) & groups.get(other, frozenset()))


def is_given_name(name: str) -> bool:
    """Whether a word, folded to lower-case ASCII, is a given name of the table."""
    return name in _groups_of()


@lru_cache(maxsize=16_384)
def related_initials(name: str) -> frozenset[str]:
    """Return the first letters of all forms of a given name: `bob` gives b and r."""
    groups = _groups_of().get(name, frozenset())
    lines = _GROUPS.strip().splitlines()
    return frozenset({name[:1], *(word[0] for number in groups for word in lines[number].split())})
