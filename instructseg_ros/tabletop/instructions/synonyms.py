"""Synonyms of trained words; written by scripts/write_synonyms.py.

From the Open English WordNet (CC BY 4.0), which is derived from the Princeton WordNet.
"""

SYNONYMS = {
    'auto': 'car',
    'automobile': 'car',
    'automobiles': 'cars',
    'autos': 'cars',
    'blueish': 'blue',
    'bluish': 'blue',
    'brownish': 'brown',
    'carmine': 'red',
    'cartonful': 'carton',
    'cartonfuls': 'cartons',
    'cerise': 'red',
    'crimson': 'red',
    'greenish': 'green',
    'motorcar': 'car',
    'motorcars': 'cars',
    'mugful': 'mug',
    'mugfuls': 'mugs',
    'orangish': 'orange',
    'pinkish': 'pink',
    'purplish': 'violet',
    'reddish': 'red',
    'scarlet': 'red',
    'soupspoon': 'soup spoon',
    'soupspoons': 'soup spoons',
    'xanthous': 'yellow',
    'yellowish': 'yellow',
}
