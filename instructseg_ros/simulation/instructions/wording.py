"""The words for things, their colours and sizes, and the sentences that ask for them.

Wordings held out of training are mostly known words in new places: what they hold a model to is
reading, not guessing. Those with words that no trained wording has are marked `new word`.
"""

from __future__ import annotations

from instructseg_ros.simulation.instructions.writer import Wordings

NOUNS = {
    'mug': Wordings(('mug', 'cup', 'coffee mug', 'coffee cup'), ('tea mug',)),
    'bowl': Wordings(('bowl', 'bowl', 'cereal bowl'), ('soup bowl',)),
    'bottle': Wordings(('bottle', 'water bottle', 'flask'), ('drink bottle',)),
    'can': Wordings(('can', 'tin', 'soda can'), ('drink can', 'soda tin')),
    'box': Wordings(('box', 'box', 'carton'), ('gift box', 'package')),  # new word: package
    'ball': Wordings(('ball', 'ball', 'rubber ball'), ('toy ball',)),
    'plate': Wordings(('plate', 'dinner plate', 'dish'), ('food plate',)),
    'spoon': Wordings(('spoon', 'spoon', 'soup spoon'), ('cereal spoon',)),
    'knife': Wordings(('knife', 'knife', 'bread knife'), ('table knife',)),
    'banana': Wordings(('banana',), ('banana fruit',)),
    'apple': Wordings(('apple',), ('apple fruit',)),
    'book': Wordings(('book', 'book', 'novel'), ('story book',)),
    'car': Wordings(('car', 'toy car', 'vehicle'), ('toy vehicle', 'automobile')),  # new word
    'hammer': Wordings(('hammer', 'hammer', 'mallet'), ('nail hammer',)),
    'pen': Wordings(('pen', 'pen', 'marker'), ('marker pen',)),
    'teapot': Wordings(('teapot', 'tea pot'), ('tea kettle',)),  # new word: kettle
}
THING = Wordings(('thing', 'thing', 'object', 'item'), ('one',))
THINGS = Wordings(('things', 'things', 'objects', 'items'))
IRREGULAR_PLURALS = {'knife': 'knives', 'box': 'boxes', 'dish': 'dishes'}

COLORS = {
    'red': Wordings(('red',), ('crimson',)),  # new word
    'green': Wordings(('green',)),
    'blue': Wordings(('blue',)),
    'yellow': Wordings(('yellow',)),
    'orange': Wordings(('orange',)),
    'purple': Wordings(('purple', 'violet')),
    'pink': Wordings(('pink',)),
    'brown': Wordings(('brown',)),
    'white': Wordings(('white',)),
    'black': Wordings(('black',)),
}
SIZES = {
    'small': Wordings((*2 * ('small', 'little'), 'small size', 'little sized'), ('small sized',)),
    'medium': Wordings(
        ('medium', 'medium sized', 'medium size', 'mid sized', 'middle size', 'average sized'),
        ('middle sized',),
    ),
    'large': Wordings(
        (*2 * ('large', 'big'), 'large size', 'big size'), ('large sized', 'big sized')
    ),
}

BEFORE_NOUN = {
    '': Wordings(('{noun}',)),
    'color': Wordings(
        (
            *3 * ('{color} {noun}',),
            '{color} colored {noun}',
            '{color} coloured {noun}',
        )
    ),
    'size': Wordings(('{size} {noun}',)),
    'size color': Wordings(('{size} {color} {noun}',), ('{size} and {color} {noun}',)),
}
AFTER_NOUN = {
    'color': Wordings(
        (
            *2 * ('{noun} that {is} {color}',),
            '{noun} with the color {color}',
            '{noun} with the colour {color}',
            '{noun} painted in {color}',
            '{noun} which {is} painted {color}',
        ),
        ('{noun} which {is} {color}', '{noun} in {color}', '{noun} that {is} {color} colored'),
    ),
    'size': Wordings(
        ('{noun} that {is} {size}', '{noun} which I find {size}'), ('{noun} which {is} {size}',)
    ),
    'size color': Wordings(
        (
            *2 * ('{size} {noun} that {is} {color}', '{color} {noun} that {is} {size}'),
            '{size} {noun} painted in {color}',
            '{color} {noun} which I find {size}',
        ),
        (
            '{size} {noun} which {is} {color}',
            '{noun} that {is} {size} and {color}',
            '{color} {noun} which {is} {size}',
            '{size} {noun} with the color {color}',
        ),
    ),
}

REQUESTS = Wordings(
    (
        'show me {it}', 'please show me {it}', 'can you show me {it}?', 'find {it}',
        'please find {it}', 'can you find {it}?', 'segment {it}', 'can you segment {it}?',
        'bring me {it}', 'please bring me {it}', 'give me {it}', 'could you give me {it}?',
        'I need {it}', 'I want {it}', 'I would like to have {it}', 'look for {it}',
        'I am looking for {it}', 'point at {it}', 'could you point at {it}?', 'mark {it}',
        'please mark {it}', 'get {it} for me', 'do you see {it}?', 'can you see {it}?',
        'pick up {it}', 'please pick up {it}', 'go and get {it}', 'I would like {it}, please',
        'where do you see {it}?', 'could you find {it} for me?', 'can you get {it}, please?',
        'hand me {it}', 'fetch {it}', 'grab {it}', 'take {it}', 'look at {it}', 'choose {it}',
        'I want you to find {it}', 'I need you to bring me {it}', 'please go and get me {it}',
        'could you please show me {it}?', 'where did I put {it}?', 'what about {it}?',
    ),
    (
        'I want you to show me {it}', 'please look for {it}',
        'I need you to pick up {it}', 'where can I find {it}?',
        'please go and find {it} for me', 'could you please point at {it}?',
        'locate {it}', 'highlight {it}',  # new words
    ),
)  # fmt: skip
SINGULAR_REQUESTS = REQUESTS + Wordings(
    (
        'where is {it}?', 'which one is {it}?', 'tell me where {it} is',
        'do you know where {it} is?', 'where in the picture is {it}?',
    ),
    ('can you tell me where {it} is?', 'where on the table is {it}?'),
)
PLURAL_REQUESTS = REQUESTS + Wordings(
    (
        'where are {it}?', 'tell me where {it} are', 'do you know where {it} are?',
        'where in the picture are {it}?',
    ),
    ('can you tell me where {it} are?', 'where on the table are {it}?'),
)
