"""How tests check the types of the modules that lectures build: as PEP 484 has them, an int where a float is asked for."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
