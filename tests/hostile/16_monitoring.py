# Monitoring, where there is any, of every line and raise.
# full: fail
# user: fail

import sys

if hasattr(sys, "monitoring"):
    m = sys.monitoring
    m.use_tool_id(1, "hostile")
    m.register_callback(1, m.events.LINE, lambda *a: m.DISABLE)
    m.register_callback(1, m.events.RAISE, lambda *a: None)
    m.set_events(1, m.events.LINE | m.events.RAISE)


def add(a, b):
    return 0
