"""Which tests hold which module: what the mutants of a module meet."""

from os.path import normpath

TESTS = {
    "qmail_popup/protocol.py": "tests/qmail_popup/test_protocol*.py",
    "qmail_popup/reasons.py": "tests/qmail_popup/test_reasons*.py",
    "qmail_popup/settings.py": "tests/qmail_popup/test_settings*.py",
    "qmail_popup/subprogram.py": "tests/qmail_popup/test_subprogram*.py",
    "qmail_popup/tls.py": "tests/qmail_popup/test_tls*.py",
    "qmail_popup/__main__.py": "tests/qmail_popup/test_main*.py",
    "qmail_popup/session.py": "tests/qmail_popup/test_session*.py",
    "qmail_popup/login.py": "tests/qmail_popup/test_session*.py",
    "qmail_popup/record.py": "tests/qmail_popup/test_record*.py",
    "qmail_popup/wire.py": "tests/qmail_popup/test_wire*.py",
    "qmail_popup/stderr.py": "tests/qmail_popup/test_stderr.py",
    "qmail_popup/executable.py": "tests/qmail_popup/test_subprogram*.py tests/qmail_popup/test_stderr.py",
    "qmail_popup/check.py": "tests/qmail_popup/test_check.py",
    "qmail_popup/listener/rules/cdb.py": "tests/qmail_popup/listener/rules/test_cdb.py",
    "qmail_popup/listener/rules/rules.py": "tests/qmail_popup/listener/rules/test_rules.py",
    "qmail_popup/listener/ipc/frames.py": "tests/qmail_popup/listener/ipc/test_frames.py",
    "qmail_popup/listener/options.py": "tests/qmail_popup/listener/test_options.py",
    "qmail_popup/listener/ipc/counts.py": "tests/qmail_popup/listener/ipc/test_counts.py",
    "qmail_popup/listener/addresses.py": "tests/qmail_popup/listener/ipc/test_counts.py",
    "qmail_popup/listener/worker/outbox.py": "tests/qmail_popup/listener/worker/test_outbox.py",
    "qmail_popup/listener/process/output.py": "tests/qmail_popup/listener/process/test_output.py",
    "qmail_popup/listener/worker/proxy.py": "tests/qmail_popup/listener/worker/test_proxy.py",
    "qmail_popup/listener/rules/lookups.py": "tests/qmail_popup/listener/rules/test_lookups.py",
    "qmail_popup/listener/tls/certificates.py": "tests/qmail_popup/listener/tls/test_certificates.py",
    "qmail_popup/listener/tls/suites.py": "tests/qmail_popup/listener/tls/test_suites.py",
    "qmail_popup/listener/worker/relays.py": "tests/qmail_popup/listener/worker/test_relays*.py",
    "qmail_popup/listener/spawner/blocks.py": "tests/qmail_popup/listener/spawner/test_blocks.py",
    "qmail_popup/listener/spawner/delivery.py": "tests/qmail_popup/listener/spawner/test_delivery.py",
    "qmail_popup/listener/supervisor/reload.py": "tests/qmail_popup/listener/supervisor/test_reload.py",
    "qmail_popup/listener/worker/worker.py": "tests/qmail_popup/listener/test_limits.py"
    " tests/qmail_popup/listener/test_login.py",
    "qmail_popup/listener/spawner/spawner.py": "tests/qmail_popup/listener/test_login.py"
    " tests/qmail_popup/listener/test_hostile_worker.py",
    "qmail_popup/listener/spawner/session.py": "tests/qmail_popup/listener/test_login.py"
    " tests/qmail_popup/listener/test_conformance.py",
    "qmail_popup/listener/supervisor/supervisor.py": "tests/qmail_popup/listener/test_processes.py",
    "observability/event.py": "tests/observability/arrivals/test_parsing*.py",
    "observability/arrivals/parsing.py": "tests/observability/arrivals/test_parsing*.py",
    "observability/store/database.py": "tests/observability/store/test_database*.py",
    "observability/store/identities.py": "tests/observability/store/test_database*.py",
    "observability/store/families.py": "tests/observability/store/test_families.py"
    " tests/observability/store/test_database*.py",
    "observability/store/increments.py": "tests/observability/store/test_families.py"
    " tests/observability/store/test_database*.py",
    "observability/arrivals/connections.py": "tests/observability/arrivals/test_connections*.py",
    "observability/arrivals/spool.py": "tests/observability/arrivals/test_spool*.py",
    "observability/store/locks.py": "tests/observability/store/test_locks*.py",
    "observability/spoolfile.py": "tests/observability/test_mirror_alone.py"
    " tests/observability/test_mirror_spool.py",
    # Without the vectors, which take a minute.
    "observability/mirror.py": "tests/observability/test_mirror_[!v]*.py tests/observability/test_mirror.py",
}
"""The modules, and for each the tests that it meets first, for the shell; the quickest are at the top."""

AT_LAST = {
    "qmail_popup": "tests/test_layout.py tests/conformance",
    "qmail_popup/listener": "tests/qmail_popup/listener/test_conformance.py"
    " tests/qmail_popup/listener/test_counted.py tests/qmail_popup/listener/test_counted_tls.py"
    " tests/qmail_popup/listener/test_tls.py"
    " tests/qmail_popup/listener/test_rules_served.py",
    "observability": "tests/test_layout.py tests/observability/store tests/observability/prometheus"
    " tests/observability/test_sidecar.py",
}
"""For each package the tests that a mutant meets if nothing else has noticed it."""

_HELD = (
    ("qmail_popup", "descriptors", "test_descriptors"),
    (
        "qmail_popup/listener",
        "__main__ tasks",
        "test_tasks test_processes supervisor/test_reload test_handed_in",
    ),
    ("qmail_popup/listener", "variables", "rules/test_rules"),
    ("qmail_popup/listener/supervisor", "children", "test_children ../test_processes test_reload"),
    (
        "qmail_popup/listener/supervisor",
        "handover notify trial",
        "test_notify test_trial ../test_processes test_reload ../test_handed_in",
    ),
    (
        "qmail_popup/listener/worker",
        "handshakes",
        "test_handshakes ../test_tls ../test_counted_tls ../test_limits",
    ),
    (
        "qmail_popup/listener/worker",
        "admission",
        "test_admission ../test_balancers* ../test_limits ../test_rules_served",
    ),
    ("qmail_popup/listener/worker", "limits buffer", "../test_balancers* ../test_limits"),
    (
        "qmail_popup/listener/worker",
        "connection acceptors lingering reports",
        "test_connection test_lingering ../test_login ../test_limits ../test_scarce ../test_tls",
    ),
    (
        "qmail_popup/listener/spawner",
        "channel logins",
        "../test_login ../test_limits ../test_hostile_worker ../test_scarce ../test_secrets",
    ),
    (
        "qmail_popup/listener/spawner",
        "rule_checks",
        "test_rule_checks ../test_rules_served ../test_hostile_rules",
    ),
    ("qmail_popup/listener/spawner", "spooler", "test_spooler test_delivery ../test_scarce"),
    (
        "qmail_popup/listener/rules",
        "background reader rules_file",
        "test_background test_reader test_rules_file ../test_rules_served ../test_hostile_rules",
    ),
    ("qmail_popup/listener/ipc", "control rights", "test_control ../test_processes ../test_hostile_worker"),
    ("qmail_popup/listener/tls", "engine", "test_engine ../test_tls ../test_counted_tls"),
    ("qmail_popup/listener/tls", "x509", "test_certificates"),
    ("qmail_popup/listener/process", "loop", "test_loop"),
    ("qmail_popup/listener/process", "privileges processes sockets", "../test_processes ../test_handed_in"),
    ("qmail_popup/listener/process", "throttled", "../test_limits ../test_balancers"),
    ("observability", "__main__ assembly sidecar", "test_sidecar* test_loop"),
    ("observability", "errors", "test_errors"),
    ("observability", "launch", "test_launch"),
    ("observability", "settings", "test_settings options/test_*"),
    ("observability", "privacy", "log/test_sessions otlp/test_frames"),
    ("observability/options", "inspection kinds table", "test_* ../test_settings"),
    ("observability/arrivals", "connection", "test_connections*"),
    (
        "observability/arrivals",
        "listener listener_thread paths",
        "../test_sidecar_paths ../test_sidecar_hanging",
    ),
    ("observability/arrivals", "directory spool_thread", "test_spool*"),
    (
        "observability/arrivals",
        "log log_file log_files log_lines log_names log_sessions log_watch",
        "test_log*",
    ),
    ("observability/arrivals", "hello", "test_hello test_connections*"),
    ("observability/arrivals", "patterns records", "test_records test_parsing*"),
    ("observability/arrivals", "signals", "test_signals"),
    ("observability/check", "command network places problem", "test_*"),
    ("observability/log", "messages reports sessions", "test_*"),
    ("observability/otlp", "exporter frames metrics process queue sampling session spans", "test_*"),
    ("observability/prometheus", "client collector endpoint pages textfile", "test_*"),
    ("observability/pushgateway", "failure group http push pusher thread", "test_*"),
    ("observability/status", "chart command facts markup overview page parts plugin", "test_*"),
    ("observability/status", "serving snapshot source style text words wrong", "test_*"),
    ("observability/store", "clocks failures feed history presence reading reset schema", "test_*"),
)
"""Folders, modules in them, and the files beside them in tests/ that hold these."""

ON_REQUEST = {
    f"{folder}/{module}.py": " ".join(normpath(f"tests/{folder}/{name}.py") for name in tests.split())
    for folder, modules, tests in _HELD
    for module in modules.split()
}
"""All other modules, likewise: their mutants are tried where they are named, for they take hours."""
