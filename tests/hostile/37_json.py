# Nesting beyond the parser's depth.
# full: fail|signal:11|oom
# user: fail|signal:11|oom

import json

json.loads('[' * 10**6)
