"""``python -m mqbridge_conformance.saboteurs``."""

from mqbridge_conformance.saboteurs.command import teeth

if __name__ == "__main__":
    teeth()
