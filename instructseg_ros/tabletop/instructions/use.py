"""Instructions that describe objects by their use."""

from __future__ import annotations

from dataclasses import dataclass

from instructseg_ros.tabletop.instructions.category import Draft, InstructionCategory, labels
from instructseg_ros.tabletop.instructions.wording import Phrase, Wordings, Writer, grounded


@dataclass(frozen=True, kw_only=True)
class Use:
    """A use of objects and the words that describe it.

    Attributes:
        categories: Object categories that serve it.
        doubtful: Categories that might serve it; scenes with such objects get no instruction about
            this use.
        actions: Words after "something I can".
        properties: Words after "something".
    """

    categories: frozenset[str]
    doubtful: frozenset[str] = frozenset()
    actions: Wordings
    properties: Wordings


USES = {
    'drink': Use(
        categories=frozenset({'mug', 'bottle', 'can'}),
        actions=Wordings.parse("""
            drink from | drink water from | drink out of | have a drink from |
            drink some water from | sip from | take a sip from | drink juice from |
            drink milk from | have a sip of water from | quench my thirst with | gulp water from |
            get a drink from | drink my soda from | swallow a drink from | put to my lips |
            drink cold water from
            // drink something from
        """),
        properties=Wordings.parse("""
            for drinking | to drink water with | for a drink | for a thirsty person |
            that I drink from | for when I am thirsty | that helps when I'm thirsty |
            to quench my thirst with | for juice | to sip from | for cold drinks | for my thirst |
            that people drink from | to drink out of
            // for drinking water
        """),
    ),
    'pour tea': Use(
        categories=frozenset({'teapot'}),
        actions=Wordings.parse("""
            pour tea from | make tea with | serve tea from | make some tea with |
            serve some tea with | brew a pot of tea with | pour hot tea from | share tea from |
            make green tea with | make tea for my guests with | serve hot tea from |
            pour tea for two from | make a brew with | brew tea with | brew some tea with |
            pour out tea from | serve our guests tea from | pour everybody tea from
            // pour some tea from
        """),
        properties=Wordings.parse("""
            for making tea | for tea time | for brewing tea | that makes tea |
            with a spout for tea | to pour tea with | for a tea party | for tea leaves |
            that one pours tea from | for serving tea | to brew tea with | that tea is poured from |
            for pouring tea | to serve tea from
            // for some tea
        """),
    ),
    'soup': Use(
        categories=frozenset({'bowl'}),
        doubtful=frozenset({'mug', 'teapot'}),
        actions=Wordings.parse("""
            eat soup from | put soup in | serve soup in | eat cereal from | eat porridge from |
            eat stew from | ladle soup into | put my breakfast cereal in | mix a salad in |
            put oatmeal in | serve stew in | fill with soup | eat my cereal out of |
            make a salad in | eat noodle soup from | put soup into | pour soup into
            // serve cereal in | put some cereal in | have soup from
        """),
        properties=Wordings.parse("""
            that can hold soup | for soup | for cereal | for stew | for porridge | for oatmeal |
            that soup goes into | to eat soup from | to put cereal in | that holds cereal |
            for noodle soup | for my breakfast cereal | for hot soup
            // that can hold my soup
        """),
    ),
    'cut': Use(
        categories=frozenset({'knife'}),
        actions=Wordings.parse("""
            cut with | cut bread with | slice bread with | cut a cake with | cut an apple with |
            slice some fruit with | chop with | chop onions with | carve meat with |
            peel fruit with | slice cheese with | cut the cake with | spread butter with |
            cut meat with | chop carrots with | cut a rope with | slice tomatoes with |
            slice bread for breakfast with | cut paper with | halve a lemon with |
            cut off a slice with
            // slice a banana with
        """),
        properties=Wordings.parse("""
            that is sharp | with a blade | for cutting | with a sharp edge | that cuts |
            for slicing | for chopping | that slices bread | with a sharp blade | for carving meat |
            that may cut my finger | to cut bread with | that I could hurt my finger on |
            for slicing bread | for cutting cheese
            // that can cut
        """),
    ),
    'eat': Use(
        categories=frozenset({'banana', 'apple'}),
        actions=Wordings.parse("""
            eat | eat now | have for lunch | have as a snack | eat for lunch | munch | snack on |
            eat for breakfast | have for breakfast | eat when I'm hungry | bite | chew | nibble |
            put in a fruit salad | peel and eat | feed to a monkey | eat as a snack | taste |
            have for dessert
            // bite into
        """),
        properties=Wordings.parse("""
            that tastes good | that is a fruit | that grows on trees | for lunch |
            that is healthy to eat | that is sweet | that I could eat | for a snack |
            for a hungry child | good to eat | that is edible | with vitamins |
            that counts as food | from a fruit tree | for when I'm hungry | that is tasty |
            juicy and sweet | for a fruit salad
            // that is a snack | which is fruit
        """),
    ),
    'read': Use(
        categories=frozenset({'book'}),
        actions=Wordings.parse("""
            read | read in bed | learn from | read a story in | read now | read before bed |
            read to my children | study with | study from | read aloud | look up facts in |
            learn about history from | turn the pages of | find a story in | read to pass the time |
            read on the train | borrow from a library | put a bookmark in | read at night
            // read from
        """),
        properties=Wordings.parse("""
            with pages | that has a story | for reading | with chapters | with a story inside |
            for a reader | written by an author | with words in it | from the library | to read |
            for my bedtime story | that people read | with a title and an author | full of pages |
            for a library | with many pages | for studying
            // that has pages
        """),
    ),
    'write': Use(
        categories=frozenset({'pen'}),
        actions=Wordings.parse("""
            write with | draw with | write a story with | sign my name with | draw a car with |
            write a letter with | take notes with | scribble with | sketch with |
            draw a picture with | jot down a note with | write a list with | sign a letter with |
            do my homework with | fill in a form with | write on paper with | doodle with |
            write down a number with | underline a word with | make a note with
            // write my name with
        """),
        properties=Wordings.parse("""
            that writes | for writing | with ink | that can draw | for drawing | that uses ink |
            for taking notes | to write with | for a writer | full of ink |
            that leaves ink on paper | for signing | for my homework | with a nib | for scribbling |
            for a letter I want to write | for sketching
            // that can write
        """),
    ),
    'play': Use(
        categories=frozenset({'ball', 'car'}),
        actions=Wordings.parse("""
            play with | play a game with | give a child to play with | have fun with |
            give to a child | amuse my son with | let the baby play with | use for a game |
            use as a toy | play with my kids | give my nephew as a toy | play with on the floor |
            play on the carpet with | play make believe with
            // have a game with
        """),
        properties=Wordings.parse("""
            that is a toy | for a child | for playing | for kids | to play with |
            that children like | for a toddler | from the toy shop | for kids to play with |
            that belongs in a toy chest | that is fun | for play time | for my daughter |
            for a game | that amuses children
            // for fun
        """),
    ),
    'roll': Use(
        categories=frozenset({'ball', 'car'}),
        doubtful=frozenset({'can', 'bottle', 'apple', 'pen', 'mug'}),
        actions=Wordings.parse("""
            roll | roll away | roll over the table | let roll | roll along the floor |
            roll down a ramp | set rolling | roll across the table | push so that it rolls |
            make roll | roll down a hill | let roll away | roll to a friend | roll over the floor |
            roll back and forth | start rolling | keep rolling | roll by a push
            // roll to you
        """),
        properties=Wordings.parse("""
            that rolls | that can roll | that rolls well | that will roll away |
            that would roll downhill | that rolls along | that keeps rolling |
            that moves by rolling | that goes rolling | that rolls down a ramp | that rolls easily |
            that rolls when pushed | that won't stop rolling | made to roll | likely to roll away
            // for rolling
        """),
    ),
    'throw': Use(
        categories=frozenset({'ball'}),
        actions=Wordings.parse("""
            throw | kick | bounce | play catch with | throw and catch | toss | toss in the air |
            throw to my dog | pass to a teammate | play soccer with | dribble | throw at a wall |
            catch | throw in the air | toss to a friend | kick into a goal | hit with a bat |
            throw far away
            // bounce and catch
        """),
        properties=Wordings.parse("""
            that bounces | that can bounce | for sports | that is round and bounces |
            for playing catch | that springs back | for soccer | to throw | for throwing |
            for kicking | to bounce on the floor | that jumps back from the wall | to kick around |
            to throw and catch | for a goal keeper
            // that bounces well
        """),
    ),
    'drive': Use(
        categories=frozenset({'car'}),
        actions=Wordings.parse("""
            drive | drive around | drive away with | drive over the table | race with |
            park in a garage | steer | drive on a road | drive along the street |
            race against a friend | take for a drive | drive down the road | drive to town | park |
            drive over a bridge | make brum brum noises with | drive on the floor
            // drive with
        """),
        properties=Wordings.parse("""
            with wheels | with four wheels | that drives | with an engine | with a steering wheel |
            that runs on wheels | with doors and wheels | with tires | for a racing driver |
            that belongs on a road | for the road | that belongs in a garage | with headlights |
            that people drive | on four wheels
            // that has wheels
        """),
    ),
    'hit': Use(
        categories=frozenset({'hammer'}),
        actions=Wordings.parse("""
            hit a nail with | drive a nail with | build a house with | hit nails with |
            hit the nail with | build a table with | bang in a nail with | pound nails with |
            knock in a nail with | drive nails into wood with | do carpentry with |
            fix a fence with | nail a board with | pound a nail with | bang on nails with |
            knock nails into the wall with | build a shed with | put up a picture with |
            smash a rock with
            // build with
        """),
        properties=Wordings.parse("""
            that is a tool | for nails | for hitting nails | for a carpenter | from the tool chest |
            to drive nails with | with a heavy head and a handle | for pounding | for building |
            for a builder | that drives nails | for carpentry | to bang nails in with |
            for knocking in nails
            // for a nail | for some nails
        """),
    ),
    'stir': Use(
        categories=frozenset({'spoon'}),
        actions=Wordings.parse("""
            stir with | stir coffee with | eat soup with | stir my tea with | stir my soup with |
            stir sugar in with | stir milk into tea with | eat my soup with | scoop with |
            eat pudding with | eat yogurt with | stir the pot with | scoop ice cream with |
            eat porridge with | taste the soup with | stir my coffee with | feed a baby with |
            mix sugar into coffee with | take sugar with
            // eat cereal with
        """),
        properties=Wordings.parse("""
            for stirring | for eating soup with | for stirring soup | to stir with |
            to eat soup with | for scooping | for feeding a baby | for pudding | for yogurt |
            for eating porridge | to scoop sugar with | that stirs | for ice cream |
            for eating pudding | for tasting the soup
            // for stirring tea
        """),
    ),
    'serve': Use(
        categories=frozenset({'plate'}),
        doubtful=frozenset({'bowl'}),
        actions=Wordings.parse("""
            put food on | serve food on | serve dinner on | put a sandwich on | put my dinner on |
            put a cake on | eat dinner off | serve a pizza on | put a steak on | serve pancakes on |
            eat my dinner from | lay my meal on | put my toast on | serve a slice of pizza on |
            eat a sandwich off | put a slice of cake on | serve lunch on | put my pancakes on |
            serve the meal on | put my meal on
            // serve a cake on
        """),
        properties=Wordings.parse("""
            for a sandwich | for dinner | for a steak | for pancakes | for pizza |
            for a slice of cake | for my meal | for toast | to serve food on | to put food on |
            for serving dinner | flat, to eat from | for a main course | to eat dinner off |
            that food is served on
            // for my dinner
        """),
    ),
    'pack': Use(
        categories=frozenset({'box'}),
        actions=Wordings.parse("""
            pack a gift in | pack things in | send a gift in | store shoes in | send things in |
            put a present in | ship things in | mail a gift in | move house with |
            pack my stuff in | keep old photos in | store toys in | send a parcel in |
            put my shoes in | store my things in | send a present in | pack up toys in
            // pack shoes in
        """),
        properties=Wordings.parse("""
            for packing | for a gift | for shoes | for a present | for shipping |
            for storing things | made of cardboard | for moving house | to put a gift in |
            to pack things in | for the mail | to store things in | for storage |
            for keeping my stuff in | to send things in
            // for packing things
        """),
    ),
}


ACTION_SENTENCES = Wordings.parse("""
    something I can {use} | something to {use} | I need something to {use} |
    I want something to {use} | what can I {use}? | what could I {use}? | what I would {use} |
    show me what I would {use} | what would you {use}? | please find something I can {use} |
    find something to {use} | everything I can {use} | is there something I can {use}? |
    bring me something to {use} | an object to {use} | show me all the things I can {use} |
    where is something to {use}? | what on the table can I {use}? |
    give me something I could {use} | anything I could {use} | whatever I could {use} |
    I'd like something to {use} | have you got something to {use}? |
    I wish I had something to {use} | got anything to {use}? | do we have something to {use}? |
    pick what I would {use} | which of these could I {use}? | what might one {use}? |
    point at something to {use} | what do people {use}? | hand me something I could {use} |
    please, something I may {use} | show whatever one would {use} |
    could you pass me something to {use}? | my friend wants something to {use}
    // which thing could I {use}? | what is there to {use}? | I am looking for something to {use} |
    is there a thing I could {use}? | can you find something to {use}? |
    what do you see that I can {use}? | a thing that I would {use}
""")
PROPERTY_SENTENCES = Wordings.parse("""
    something {use} | the thing {use} | show me something {use} | find something {use} |
    I need something {use} | is there something {use}? | bring me something {use} |
    an object {use} | please show me something {use} | where is something {use}? |
    do you see something {use}? | everything {use} | anything {use} | whatever is there {use} |
    have you got something {use}? | I'd like something {use} | got anything {use}? |
    do we have something {use}? | point at something {use} | hand me something {use} |
    I could do with something {use} | could you pass me something {use}? |
    please get me something {use} | pick something {use} | my friend wants something {use} |
    I'm after something {use} | isn't there something {use}?
    // can you find something {use}? | what is there {use}? | is there a thing {use}? |
    I am looking for something {use} | which thing do you see {use}?
""")
SENTENCES = ACTION_SENTENCES + PROPERTY_SENTENCES
PROPERTY_SHARE = 0.3


def draft(writer: Writer, *, absent: bool) -> Draft | None:
    """Draft an instruction for all objects that serve a use; if `absent`, no object serves it."""
    categories = {obj.category for obj in writer.graph}
    options = [name for name, use in USES.items() if _is_plain(use, categories, absent)]
    if not options:
        return None
    name = writer.choice(options)
    use = USES[name]
    serving = labels(obj for obj in writer.graph if obj.category in use.categories)
    text = writer.paraphrase(f'use {name}') or _text(use, serving, writer)
    return Draft(text=text, targets=serving, candidates=serving)


def _is_plain(use: Use, categories: set[str], absent: bool) -> bool:
    return not use.doubtful & categories and bool(use.categories & categories) != absent


def _text(use: Use, serving: frozenset[int], writer: Writer) -> Phrase:
    is_property = writer.chance(PROPERTY_SHARE)
    words = writer.pick(use.properties if is_property else use.actions)
    key = grounded(words, dict.fromkeys(serving, 1.0), 'attribute')
    return writer.sentence(PROPERTY_SENTENCES if is_property else ACTION_SENTENCES, use=key)


USE = InstructionCategory(
    name='use',
    generator=draft,
    sentences=SENTENCES,
    wordings=(
        SENTENCES,
        *(words for use in USES.values() for words in (use.actions, use.properties)),
    ),
    share=0.13,
    share_at_rest=0.13,
    early_weight=1.0,
    late_weight=1.3,
    is_reasoning=True,
    is_lasting=True,
)
