/*
 * Hostile programs: tests/hostile, one a file, and mutants of them.
 *
 * A file opens with the number of its row in the table of hostile programs and says what it does,
 * then what comes of it at each level (alternatives with '|'), and perhaps which limit it is
 * there to meet:
 *
 *     # Forks without end.
 *     # full: pids
 *     # user: pids
 *     # limits: cpu      0.3 s of CPU time; "wall": 0.5 s; else ample ones
 *
 * Code follows, and after a line "# --- tests" tests of its own in place of those of add().
 *
 * A mutant runs such a program in another place (in a thread, a forked child, the tested function,
 * an exit handler, ...), perhaps behind a second one, within a program whose add() is wrong:
 * whatever passes was forged.
 */
#ifndef TESTS_HARNESS_JUDGE_HOSTILE_H
#define TESTS_HARNESS_JUDGE_HOSTILE_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "tests/harness/judge/support.h"

enum { MAX_FILES = 256, N_LIMITS = 3 };
static const char *const limit_names[N_LIMITS] = { "", "cpu", "wall" };

static const char add[] = "def add(a, b):\n    return a + b\n";
static const char add_tests[] = "assert add(2, 3) == 5\nassert add(-1, 1) == 0\n";

static inline struct judge_options limits_of(int kind)
{
    struct judge_options o = small_options(2);

    if (strcmp(limit_names[kind], "cpu") == 0)
        o.cpu_limit_ns = 300000000;
    if (strcmp(limit_names[kind], "wall") == 0)
        o.wall_limit_ns = 500000000;
    return o;
}

/* Nobody may be left once the judge is closed: who lost its parent has become our child. */
static inline void expect_no_children(void)
{
    const int64_t end = clock_mono_ns() + 5000000000;
    pid_t pid;

    do {
        pid = waitpid(-1, NULL, WNOHANG);
        if (pid == 0)
            usleep(10000);
    } while (pid >= 0 && clock_mono_ns() < end);
    cr_expect(pid < 0, "a process is left");
}

struct hostile {
    char name[256], expected[2][64]; /* user, full */
    int limits;
    struct buf text;
    const char *tests; /* within text, or NULL */
    size_t code_len;
};

static inline bool header(const char *text, const char *key, char *out, size_t size)
{
    char line[32];

    snprintf(line, sizeof(line), "\n# %s: ", key);
    const char *p = strstr(text, line);
    if (!p)
        return false;
    p += strlen(line);
    snprintf(out, size, "%.*s", (int)strcspn(p, " \n"), p);
    return true;
}

static inline void read_hostile(const char *dir, const char *name, struct hostile *ret)
{
    static const char mark[] = "\n# --- tests\n";
    char path[4400], limits[16] = "";
    struct error err;

    memset(ret, 0, sizeof(*ret));
    snprintf(ret->name, sizeof(ret->name), "%s", name);
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    cr_assert(file_read(path, 1 << 20, &ret->text, &err) == ST_OK, "%s", err.text);
    cr_assert(header(ret->text.data, "user", ret->expected[0], sizeof(ret->expected[0])), "%s",
              name);
    cr_assert(header(ret->text.data, "full", ret->expected[1], sizeof(ret->expected[1])), "%s",
              name);
    header(ret->text.data, "limits", limits, sizeof(limits));
    for (ret->limits = 0; strcmp(limit_names[ret->limits], limits) != 0; ret->limits++)
        cr_assert(ret->limits < N_LIMITS - 1, "%s: limits '%s'", name, limits);
    const char *at = strstr(ret->text.data, mark);
    ret->code_len = at ? (size_t)(at - ret->text.data) : ret->text.len;
    ret->tests = at ? at + strlen(mark) : NULL;
}

static inline size_t read_all(struct hostile *ret)
{
    char dir[4096];
    DIR *d;
    struct dirent *e;
    size_t n = 0;

    snprintf(dir, sizeof(dir), "%s/hostile", getenv("DESBENCH_TESTS"));
    d = opendir(dir);
    cr_assert(d, "%s", dir);
    while ((e = readdir(d)))
        if (strstr(e->d_name, ".py")) {
            cr_assert(n < MAX_FILES);
            read_hostile(dir, e->d_name, &ret[n++]);
        }
    closedir(d);
    return n;
}

/* Is a verdict ("signal:11" with its number) among the alternatives? */
static inline bool is_expected(const char *alternatives, const struct judge_result *r)
{
    char word[64];

    if (r->verdict == VERDICT_SIGNAL)
        snprintf(word, sizeof(word), "signal:%d", r->signal);
    else
        snprintf(word, sizeof(word), "%s", verdict_name(r->verdict));
    for (const char *p = alternatives; *p; p += strspn(p, "|")) {
        size_t n = strcspn(p, "|");
        if (n == strlen(word) && memcmp(p, word, n) == 0)
            return true;
        p += n;
    }
    return false;
}

/* A program as a bytes literal of Python's. */
static inline void put_literal(struct buf *b, const char *text, size_t len)
{
    buf_puts(b, "b'");
    for (size_t i = 0; i < len; i++)
        buf_printf(b, "\\x%02x", (unsigned char)text[i]);
    buf_puts(b, "'");
}

/*
 * Where a mutant runs the programs `first` and `second`, which are bytes: each in names of its own,
 * so that whatever they define is not what is tested.
 */
static const char *const mutations[] = {
    "run(first)\n",
    "run(first)\nrun(second)\n",
    "try:\n    run(first)\nexcept BaseException:\n    run(second)\n",
    "try:\n    run(first)\nexcept BaseException:\n    pass\n",
    "import threading\nthreading.Thread(target=run, args=(first,)).start()\nrun(second)\n",
    "import threading\nt = threading.Thread(target=run, args=(first,), daemon=True)\nt.start()\n",
    "import os\nif os.fork() == 0:\n    run(first)\nrun(second)\n",
    "import os\nif os.fork() != 0:\n    run(first)\n    os._exit(0)\n",
    "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        run(first)\n",
    "import atexit\natexit.register(run, first)\nrun(second)\nraise SystemExit(0)\n",
    ("import signal\nsignal.signal(signal.SIGALRM, lambda *a: run(first))\n"
     "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\nrun(second)\n"),
    "import sys\nsys.settrace(lambda *a: (sys.settrace(None), run(first)))\nrun(second)\n",
    "class Late:\n    def __del__(self): run(first)\nlate = Late()\ndel late\nrun(second)\n",
    "import sys\nsys.stdout.flush = lambda: run(first)\n",
    "import builtins\nbuiltins.len = lambda x: run(first)\nrun(second)\n",
    "in_call = True\n",
    "in_call = True\nrun(second)\n",
};

/* Write a mutant of two programs, chosen by r. No mutant is right. */
static inline void put_mutant(struct rng *r, const struct hostile *first,
                              const struct hostile *second, struct buf *b)
{
    buf_puts(b, "first = ");
    put_literal(b, first->text.data, first->code_len);
    buf_puts(b, "\nsecond = ");
    put_literal(b, second->text.data, second->code_len);
    buf_puts(b, "\nin_call = False\n\n\n"
                "def run(text):\n    exec(compile(text, '<hostile>', 'exec'), {})\n\n\n"
                "def add(a, b):\n    if in_call:\n        run(first)\n    return 41\n\n\n");
    buf_puts(b, mutations[rng_below(r, sizeof(mutations) / sizeof(*mutations))]);
}

#endif
