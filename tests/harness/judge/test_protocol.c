/* Two processes: what crosses between a program and its checker, and what does not. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness/judge/support.h"

/* Tests of a program that returns its argument: equal, of the same type, and so all the way. */
static const char identity[] = "from collections import *\nimport re\n"
                               "def add(x):\n    return x\n";

Test(protocol, values_come_back_as_they_went)
{
    static const char tests[] =
        "from collections import Counter, OrderedDict, defaultdict, deque\n"
        "values = [None, True, False, 0, -1, 255, 256, -32769, 10**40, -10**40, 0.1, -0.0, 1e308,\n"
        "          float('inf'), 2-3j, '', 'caf\\u00e9 \\U0001f600', '\\ud800', 'a\\0b', b'', "
        "b'\\xff\\0',\n"
        "          bytearray(b'xy'), [], [[1], [2, [3]]], (), (1, 'a', None), {}, {1: 'a', (2, 3): "
        "[]},\n"
        "          set(), {1, 'a'}, frozenset({(1,)}), range(2, 9, 3), ..., Counter('abca'),\n"
        "          OrderedDict([(2, 1), (1, 2)]), deque([1, 2], 5), deque([])]\n"
        "def same(a, b):\n"
        "    assert type(a) is type(b) and a == b, (a, b)\n"
        "    if isinstance(a, (list, tuple)):\n"
        "        for x, y in zip(a, b): same(x, y)\n"
        "for v in values + [values]: same(add(v), v)\n"
        "assert str(add(-0.0)) == '-0.0' and add(float('nan')) != add(float('nan'))\n"
        "assert list(add({3: 1, 1: 2, 2: 3})) == [3, 1, 2]\n"
        "assert add(deque([1, 2], 5)).maxlen == 5\n"
        "assert type(add(defaultdict(list, {1: [2]}))) is defaultdict\n"
        "assert add(defaultdict(list, {1: [2]})) == {1: [2]}\n"
        "assert add(x=[1]) == [1]\n"
        "assert add('x' * 5_000_000) == 'x' * 5_000_000\n";
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    struct judge_result r = run(j, identity, tests);

    expect_verdict(r, VERDICT_PASS);
    cr_expect(r.mode == JUDGE_TWO_PROCESS);
    judge_close(j);
}

Test(protocol, what_is_no_data_fails_and_says_its_type)
{
    static const struct {
        const char *value, *details;
    } cases[] = {
        { "object()", "not_data:object" },
        { "type('Any', (), {'__eq__': lambda *a: True})()", "not_data:Any" },
        { "type('Int', (int,), {'__eq__': lambda *a: True})(3)", "not_data:Int" },
        { "[1, (2, {3: type('S', (str,), {})('x')})]", "not_data:S" },
        { "(x for x in [5])", "not_data:generator" },
        { "map(int, '5')", "not_data:map" },
        { "add", "not_data:function" },
        { "re", "not_data:module" },
        { "int", "not_data:type" },
        { "{}.keys()", "not_data:dict_keys" },
        { "open('/dev/null')", "not_data:TextIOWrapper" },
        { "namedtuple('P', 'a')(5)", "not_data:P" },
    };
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    char code[512];

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        snprintf(code, sizeof(code),
                 "from collections import *\nimport re\ndef add():\n    return %s\n",
                 cases[i].value);
        /* Tests that swallow everything cannot save it. */
        struct judge_result r =
            run(j, code, "try:\n    assert add() == 5\nexcept BaseException:\n    pass\n");
        expect_verdict(r, VERDICT_FAIL);
        cr_expect_str_eq(r.details, cases[i].details);
        cr_expect(judge_is_not_data(&r));
    }
    judge_close(j);
}

Test(protocol, size_and_depth_are_capped)
{
    static const struct {
        const char *body;
        enum verdict verdict;
    } cases[] = {
        { "return 'x' * (17 << 20)", VERDICT_OUTPUT },
        { "return 1 << (1 << 28)", VERDICT_OUTPUT },
        { "return [bytes(1 << 20)] * 100", VERDICT_OUTPUT },
        { "x = []\n    for _ in range(60): x = [x, x]\n    return x", VERDICT_OUTPUT },
        { "x = []\n    x.append(x)\n    return x", VERDICT_FAIL },
        { "x = []\n    for _ in range(10**6): x = [x]\n    return x", VERDICT_FAIL },
        { "x = {}\n    x[1] = x\n    return x", VERDICT_FAIL },
        { "x = []\n    for _ in range(150): x = [x]\n    return x", VERDICT_PASS },
    };
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    char code[256];

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        snprintf(code, sizeof(code), "def add():\n    %s\n", cases[i].body);
        struct judge_result r = run(j, code, "assert add() is not None");
        cr_expect(r.verdict == cases[i].verdict, "%s: %s: %s", cases[i].body,
                  verdict_name(r.verdict), r.details);
        if (r.verdict == VERDICT_FAIL)
            cr_expect(strstr(r.details, "nested more than"), "%s", r.details);
    }
    judge_close(j);
}

Test(protocol, arguments_and_results_are_copies)
{
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    struct judge_result r = run(j, "def add(x):\n    x.append(5)\n    return x\n",
                                "x = [1]\ny = add(x)\n"
                                "assert x == [1] and y == [1, 5] and y is not x\n"
                                "assert add(x) == [1, 5]\n");

    expect_verdict(r, VERDICT_PASS);
    judge_close(j);
}

Test(protocol, exceptions_of_python_reach_the_tests)
{
    static const char code[] = "class Own(ValueError): pass\n"
                               "def add(x):\n"
                               "    if x == 1: raise ValueError('one')\n"
                               "    if x == 2: raise Own('two')\n"
                               "    if x == 3: raise SystemExit(0)\n"
                               "    return x\n";
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    struct judge_result r = run(j, code,
                                "try:\n    add(1)\n    assert False\n"
                                "except ValueError as e:\n    assert 'one' in str(e)\n"
                                "try:\n    add(2)\n    assert False\n"
                                "except ValueError:\n    assert False\n"
                                "except Exception as e:\n    pass\n"
                                "try:\n    add(3)\n    assert False\n"
                                "except Exception:\n    pass\n"
                                "assert add(4) == 4\n");

    expect_verdict(r, VERDICT_PASS);
    r = run(j, code, "add(2)");
    expect_verdict(r, VERDICT_FAIL);
    cr_expect_str_eq(r.details, "Own: two (code, line 4)");
    judge_close(j);
}

Test(protocol, tests_see_their_own_names_modules_and_helpers_only)
{
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    const char *code = "import math\nimport math as m, os\nother = 5\n"
                       "math.isclose = abs = len = lambda *a, **k: True\n"
                       "def poly(x): return x\n"
                       "def sum(x): return poly(x)\n";
    const char *helpers = "def poly(x):\n    return 2 * x\n\ndef sum(x):\n    pass\n";
    struct judge_job job = make_job(1, code,
                                    "assert sum(3) == 3 and poly(3) == 6\n"
                                    "assert not math.isclose(1, 2) and m.floor(1.5) == 1\n"
                                    "assert abs(-2) == 2 and len('ab') == 2\n");
    struct judge_result r;

    job.entry_point = "sum";
    job.helpers = helpers;
    job.helpers_len = strlen(helpers);
    submit_job(j, &job);
    r = collect(j);
    expect_verdict(r, VERDICT_PASS);
    /* What the program defines besides is not theirs, nor are modules that reach the system. */
    r = run(j, code, "assert other == 5");
    cr_expect_str_eq(r.details, "NameError: name 'other' is not defined (tests, line 1)");
    r = run(j, code, "assert os.getpid()");
    cr_expect_str_eq(r.details, "NameError: name 'os' is not defined (tests, line 1)");
    judge_close(j);
}

Test(protocol, tests_that_pass_what_is_no_data_are_our_fault)
{
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    struct judge_result r = run(j, identity, "add(lambda: 5)");

    expect_verdict(r, VERDICT_INTERNAL);
    cr_expect(strstr(r.details, "does not cross: function"), "%s", r.details);
    judge_close(j);
}

Test(protocol, mode_one_process_shares_types_and_is_told)
{
    const char *code = "class Node:\n    def __init__(self, x): self.x = x\n"
                       "def add(a, b): return Node(a.x + b.x)\n";
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    struct judge_job job = make_job(1, code, "assert add(Node(2), Node(3)).x == 5\n");
    struct judge_result r;

    job.mode = JUDGE_ONE_PROCESS;
    submit_job(j, &job);
    r = collect(j);
    expect_verdict(r, VERDICT_PASS);
    cr_expect(r.mode == JUDGE_ONE_PROCESS);
    job.tests = "assert add(Node(2), Node(3)).x == 6\n";
    submit_job(j, &job);
    r = collect(j);
    expect_verdict(r, VERDICT_FAIL);
    cr_expect_str_eq(r.details, "AssertionError (tests, line 1)");
    cr_expect(strstr(r.stderr_tail, "Traceback"));
    job.tests = "assert (\n";
    job.tests_len = strlen(job.tests);
    submit_job(j, &job);
    r = collect(j);
    expect_verdict(r, VERDICT_INTERNAL);
    judge_close(j);
}

Test(protocol, random_draws_are_the_same_each_time)
{
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    char first[JUDGE_TAIL] = "";

    for (int i = 0; i < 2; i++) {
        struct judge_result r =
            run(j, "import random\nprint(random.random())\ndef add(x): print(x)\n",
                "import random\nadd(random.random())\n");
        expect_verdict(r, VERDICT_PASS);
        cr_expect(strlen(r.stdout_tail) > 10);
        if (i == 0)
            memcpy(first, r.stdout_tail, sizeof(first));
        cr_expect_str_eq(r.stdout_tail, first);
    }
    judge_close(j);
}

/* Tests come with data sets, from outside: the checker is held too. */
Test(protocol, a_checker_can_reach_nothing_either)
{
    static const char tests[] =
        "import os, socket\n"
        "def refused(f, *args):\n"
        "    try:\n        f(*args)\n"
        "    except OSError:\n        return True\n"
        "    return False\n"
        "assert os.getpid() == 1 and os.getuid() == 1000\n"
        "assert os.listdir('/proc') == [] and os.listdir('/tmp') == []\n"
        "assert not os.path.exists('/etc/passwd')\n"
        "assert all(refused(open, p, 'w') for p in ('/tmp/x', '/usr/x', '/x', '/dev/shm/x'))\n"
        "assert refused(os.fork) and refused(socket.create_connection, ('127.0.0.1', 80))\n"
        "assert refused(os.mkdir, '/tmp/x') and refused(os.kill, 2, 9)\n"
        "assert refused(os.setuid, 0) and os.environ['HOME'] == '/tmp'\n"
        "open_fds = []\n"
        "for fd in range(64):\n"
        "    if not refused(os.fstat, fd): open_fds.append(fd)\n"
        "assert open_fds == [0, 1, 2, 3, 4], open_fds\n"
        "print('printing leads nowhere')\n"
        "assert add(1) == 1\n";
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    struct judge_result r = run(j, identity, tests);

    expect_verdict(r, VERDICT_PASS);
    cr_expect_str_eq(r.stdout_tail, "");
    r = run(j, identity, "import ctypes\nctypes.CDLL(None).unshare(0x10000000)");
    cr_expect(r.verdict == VERDICT_INTERNAL, "%s: %s", verdict_name(r.verdict), r.details);
    r = run(j, identity, "assert add(1) == 1");
    expect_verdict(r, VERDICT_PASS);
    judge_close(j);
}

/* The only child of a process. */
static pid_t child_of(pid_t pid)
{
    char path[64], text[64] = "";

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *f = fopen(path, "r");
    cr_assert(f && fgets(text, sizeof(text), f), "%s", path);
    fclose(f);
    return (pid_t)atoi(text);
}

Test(protocol, an_interpreter_that_was_lost_is_started_again)
{
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    struct judge_result r = run(j, identity, "assert add(1) == 1");

    expect_verdict(r, VERDICT_PASS);
    cr_assert(kill(child_of(child_of(getpid())), SIGKILL) == 0);
    r = run(j, identity, "assert add(1) == 1");
    expect_verdict(r, VERDICT_PASS);
    judge_close(j);
}
