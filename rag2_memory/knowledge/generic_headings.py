"""Headings that name a part of any document and no thing: `Security`, `Changed`, `Early life`."""

from __future__ import annotations

import re

_LISTED = """
    abstract|acceptance criteria|access|achievements|acknowledgements|action items|actions|added|advantages|aftermath|agenda|agreed|aim|aims|alternatives
    |alternatives considered|analysis|announcements|answers|any other business|aob|appearances|appendix|applications|apologies|approach|architecture
    |assessment|assumptions|attendees|awards|background|basics|benefits|biography|breaking|breaking changes|budget|bug fixes|bugs|calendar|capacity
    |career|cast|cause|causes|caveats|changed|changelog|changes|character|characters|checklist|checks|childhood|chronology|classes|code|comments
    |commands|compatibility|compensation|components|concepts|conclusion|conclusions|configuration|consequences|considerations|constraints|contact
    |contacts|contents|context|contributing|contributors|controversies|controversy|corrections|cost|costs|credits|criticism|culture|customers|data
    |date|dates|deadlines|death|decision|decisions|definition|definitions|demographics|dependencies|deployment|deprecated|deprecations|description
    |design|design history|details|development|diagnosis|diagram|differences|directory|discography|discussion|discussions|distribution|documentation
    |documents|downloads|duties|early career|early life|early years|economy|education|effects|eligibility|engineering|environment|equipment|errors
    |escalation|etymology|evaluation|events|example|examples|exceptions|exhibitions|expenses|experience|external links|failure modes|family|faq|faqs
    |features|feedback|figures|films|filmography|finance|findings|fix|fixed|fixes|follow-up|follow-ups|footnotes|format|formats|found|frequently
    asked questions|further information|further reading|future|future work|gallery|general|geography|getting help|getting started|glossary|goal|goals
    |governance|guidelines|habitat|health|help|highlights|history|honors|honours|hours|how|how it works|how to use|idea|ideas|images|impact
    |implementation|important|improved|improvements|in popular culture|index|influence|influences|info|information|input|inputs|installation
    |installing|instructions|interfaces|internals|introduction|investigation|issues|items|kinds|known bugs|known issues|known limitations|later career
    |later life|later years|leads|learned|learnings|legacy|legal|lessons|lessons learned|libraries|license|licence|life|limitations|limits|links
    |literature|location|locations|logging|logs|maintenance|management|marriage|materials|media|meeting|meetings|members|membership|metadata|methodology
    |method|methods|metrics|migration|miscellaneous|misc|mitigation|monitoring|motivation|music|name|names|naming|new|new features|news|next|next steps
    |non-goals|notable people|note|notes|numbers|objective|objectives|office|offices|on-call|open questions|open points|operations|options|organisation
    |organization|origin|origins|other|output|outputs|overview|ownership|owners|parameters|participants|part 1|part 2|parts|pay|people|performance|personal
    life|personnel|phases|philosophy|planning|plan|plans|plot|points|policy|politics|population|preparation|prerequisites|present|principles|priorities
    |privacy|problem|problems|procedure|process|processes|product|production|products|programme|progress|projects|properties|proposal|protocol|publications
    |publicity|purpose|quality|questions|questions and answers|quick start|quickstart|rationale|reasons|reception|recommendation|recommendations
    |recovery|reference|references|related|related work|release|release notes|releases|remarks|removed|reporting|reports|requirements|research|resolution
    |resolved|resources|response|responsibilities|results|retrospective|review|reviews|risk|risks|roadmap|role|roles|rollback|rollout|root cause|rules
    |running|safety|sales|schedule|schema|scope|secrets|section|security|see also|selected works|sequence|service|services|settings|setup|shared|sources
    |specification|staff|standards|start|statistics|status|steps|storage|strategy|structure|style|summary|support|symptoms|synopsis|system|systems|tables
    |tasks|team|teams|tech stack|technical details|terminology|terms|test|testing|tests|theory|things|ticket|tickets|tiers|timeline|times|tips|title|to do
    |todo|tools|topics|track listing|training|translations|travel|trivia|troubleshooting|tutorial|types|uninstalling|unreleased|update|updates|upgrade
    |upgrade notes|upgrading|usage|use cases|users|uses|using|validation|values|variables|verification|version|versions|videos|warning|warnings
    |what changed|what happened|what is new|what we do|what we run|what's new|where|who|who is who|why|work|workarounds|works|writing|writings|works cited
"""
GENERIC_HEADINGS = frozenset(key.strip() for key in " ".join(_LISTED.split()).split("|"))
"""Sections of changelogs, decision records, runbooks, minutes, incident reports, biographies and encyclopaedias, in lower case."""

_NUMBERING = re.compile(r"^[\s\d.)(:–—-]+|[\s:.*_]+$")


def is_generic_heading(heading: str) -> bool:
    """Whether a heading is what many documents call one of their parts; numbering and closing punctuation do not count."""
    return _NUMBERING.sub("", heading).casefold() in GENERIC_HEADINGS
