"""Exit 0 if this interpreter will do: new enough and, when root asks, usable by the unprivileged.

Run as a file, by whatever Python there is, so its syntax is old on purpose. An interpreter
below a home folder of mode 0700 works for root and for nobody else, and PostgreSQL refuses root.
"""

import os
import sys

TOO_OLD, UNREADABLE = 3, 4


def works_for_the_unprivileged(interpreter: str) -> bool:
    """Really run it as an unprivileged user: modes alone do not tell (ACLs, noexec, AppArmor)."""
    import pwd

    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        user = pwd.getpwnam("nobody")
    child = os.fork()
    if child == 0:
        try:
            os.chdir("/")
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            os.execv(interpreter, [interpreter, "-I", "-B", "-c", "import ssl, socket, ctypes"])
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    if sys.version_info < (3, 11):
        sys.exit(TOO_OLD)
    if os.geteuid() == 0 and not works_for_the_unprivileged(sys.executable):
        sys.exit(UNREADABLE)
