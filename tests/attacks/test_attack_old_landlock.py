"""A kernel whose Landlock does not know of files being emptied: by trust alone, and even so nothing is emptied."""

import modes
import pytest
from arena import Case, How, family, grade, innocent, probe, right
from test_attack_writing import PLACES

from cs336lite.grading.jail import WEAK_LANDLOCK

LIBRARY = (
    "sys.path[0] + '/cs336lite/course/__init__.py'"  # of the worker: it may be read, so Landlock lets it be opened
)


def emptying(name, how, twin=None):
    """An attack on every place; it worked when one of them was emptied, or a call did not fail."""
    body = f"""
        done = 0
        for path in ({", ".join([*PLACES.values(), LIBRARY])}):
            try:
                {how}
                done += 1
            except OSError:
                pass
        return done"""
    return Case(name, probe(body), innocent(twin) if twin else None)


def by_number(call):
    return f"if libc.syscall({call}) < 0: raise OSError"


CASES = [
    emptying("truncate", "os.truncate(path, 0)", "try: os.truncate('nothing', 0)\nexcept OSError: return True"),
    emptying("truncate-by-number", by_number("76, os.fsencode(path), 0")),
    emptying("open-for-nothing", "os.open(path, 3 | os.O_TRUNC)"),
    emptying("open-for-reading", "os.open(path, os.O_RDONLY | os.O_TRUNC)", f"return open({LIBRARY}).read()"),
    emptying("open-for-writing", "os.open(path, os.O_WRONLY | os.O_TRUNC)"),
    emptying("open-for-both", "os.open(path, os.O_RDWR | os.O_TRUNC)"),
    emptying("open-by-number", by_number("2, os.fsencode(path), 3 | os.O_TRUNC, 0")),
    emptying("open-high-word", by_number("ctypes.c_long(2), os.fsencode(path), ctypes.c_long((1 << 32) | os.O_TRUNC), 0")),
    emptying("open-second", by_number("437, -100, os.fsencode(path), struct.pack('QQQ', 3 | os.O_TRUNC, 0, 0), 24")),
    emptying("create-over", "if libc.creat(os.fsencode(path), 0o600) < 0: raise OSError"),
    emptying("create-by-number", by_number("85, os.fsencode(path), 0o600")),
    emptying("replace", "os.replace(path, path + '.gone')"),
    emptying("open-then-truncate", "os.ftruncate(os.open(path, os.O_PATH), 0)"),
    emptying("allocate", "os.posix_fallocate(os.open(path, os.O_RDONLY), 0, 1)"),
    Case("printing-to-nowhere", None, innocent("with open(os.devnull, 'w') as f: print('x', file=f)\nreturn open(os.devnull, 'r+b')")),
    Case("quiet", None, innocent("import contextlib\nwith open(os.devnull, 'w') as f, contextlib.redirect_stdout(f): print('x')\nreturn True")),
]  # fmt: skip

HOW = How(landlock=2, trust=True)
outcome, test_attack, test_twin, test_class = family("old-landlock", CASES, how=HOW)


def test_its_name_says_so(outcome):
    wrapped = ["bubblewrap"] if HOW.mode.bubblewrap else []
    assert [sorted(layers) for layers in outcome["layers"]] == [sorted([*wrapped, WEAK_LANDLOCK, "rlimits", "seccomp"])]


@pytest.mark.skipif(modes.present().bubblewrap, reason="bubblewrap makes up for it")
@pytest.mark.skipif(bool(HOW.mode.impossible), reason=HOW.mode.impossible)
@pytest.mark.parametrize("landlock", [0, 1, 2])
def test_without_trust_nothing_is_judged(landlock):
    outcome = grade([Case("right", right())], How(landlock=landlock))
    assert not outcome["scores"] and "--trust-submissions" in outcome["error"] and not outcome["changed"]
