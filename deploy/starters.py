"""The programs of an installed copy, as templates with @PYTHON@ for the interpreter.

Each finds its modules relative to its own path, so that a copy can be moved anywhere.
"""

# Compiled at every start, so it is short. It reads the bundle through posix in one piece: marshal.load on a
# file reads in small pieces through io, which costs 5 % of a session. Garbage collection is off: a session
# leaves it nothing to find, and looking costs 1 %. SIGINT is reset first: until then it would cause a
# traceback.
POPUP = """\
#!@PYTHON@ -IS
import _signal, gc, marshal, posix, sys
if _signal.getsignal(2) is _signal.default_int_handler: _signal.signal(2, _signal.SIG_DFL)
gc.disable()
lib = __file__.rsplit("/", 2)[0] + "/lib/qmail-popup"
try:
    fd = posix.open(f"{lib}/popup.{sys.implementation.cache_tag}", posix.O_RDONLY)
except OSError:  # started through a link or by another Python: works, but slower
    from os.path import realpath
    sys.path.insert(0, realpath(__file__).rsplit("/", 2)[0] + "/lib/qmail-popup")
    from qmail_popup.__main__ import main
else:
    data = posix.read(fd, 1 << 20)
    posix.close(fd)
    code, now, later = marshal.loads(data)
    boot = sys.modules["boot"] = type(sys)("boot")
    exec(code, boot.__dict__)
    main = boot.run(lib, data, now, later).main
posix._exit(main())
"""

SIDECAR = """\
#!@PYTHON@ -IS
import os, sys
lib = os.path.realpath(__file__).rsplit("/", 2)[0] + "/lib/qmail-popup"
sys.path[:0] = [lib, lib + "/site-packages"]
from observability.__main__ import main
sys.exit(main(sys.argv[1:], os.environ))
"""

# Started only once, so start-up time matters little; `site` would only add other modules to sys.path. SIGHUP
# is blocked first, because it would end the listener until there is a handler: loading modules takes 0.1 s.
LISTENER = """\
#!@PYTHON@ -IS
import _signal, os, sys
_signal.pthread_sigmask(_signal.SIG_BLOCK, [_signal.SIGHUP])
lib = os.path.realpath(__file__).rsplit("/", 2)[0] + "/lib/qmail-popup"
sys.path.insert(0, lib)
from qmail_popup.listener.__main__ import main
sys.exit(main(sys.argv[1:], os.environb))
"""
