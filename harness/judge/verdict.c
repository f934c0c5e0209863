/* What came of a program, by its checker's report, the way it ended and what it used. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "harness/judge/slot.h"

bool slot_is_out_of_memory(const struct slot *s)
{
    return s->has_cgroup && cgroup_n_oom_kills(&s->cgroup) > s->n_oom_base;
}

bool slot_is_fork_refused(const struct slot *s)
{
    if (s->has_cgroup)
        return cgroup_n_forks_refused(&s->cgroup) > s->n_refused_base;
    return s->n_tasks_max > s->opts->max_pids; /* and init */
}

enum verdict slot_say(struct judge_result *r, enum verdict v, const char *fmt, ...)
{
    char text[sizeof(r->details)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    text_visible(text, strlen(text), 0, r->details, sizeof(r->details));
    return v;
}

static double seconds(int64_t ns)
{
    return (double)ns * 1e-9;
}

static enum verdict say_memory(const struct slot *s, struct judge_result *r)
{
    return slot_say(r, VERDICT_OOM, "used more than %lld bytes of memory",
                    (long long)s->opts->memory_bytes);
}

static enum verdict say_pids(const struct slot *s, struct judge_result *r)
{
    return slot_say(r, VERDICT_PIDS, "wanted more than %d processes and threads",
                    s->opts->max_pids);
}

static enum verdict say_cpu(const struct slot *s, struct judge_result *r)
{
    return slot_say(r, VERDICT_TIMEOUT_CPU, "used %.2f s of CPU time, limit %.2f s",
                    seconds(r->cpu_ns), seconds(s->program->cpu_limit_ns));
}

/* It was killed by us, or what it used leaves no other word. */
static enum verdict judge_cause(const struct slot *s, struct judge_result *r)
{
    const struct judge_options *o = s->opts;

    switch (s->cause) {
    case CAUSE_SETUP: return slot_say(r, VERDICT_INTERNAL, "the sandbox was not ready in time");
    case CAUSE_CPU: return say_cpu(s, r);
    case CAUSE_WALL:
        return slot_say(r, VERDICT_TIMEOUT_WALL,
                        "ran for %.2f s, limit %.2f s; used %.2f s of CPU time",
                        seconds(r->wall_ns), seconds(o->wall_limit_ns), seconds(r->cpu_ns));
    case CAUSE_MEMORY: return say_memory(s, r);
    case CAUSE_PIDS: return say_pids(s, r);
    case CAUSE_SILENT:
        return slot_say(r, VERDICT_FAIL, "closed the channel to its checker and went on");
    case CAUSE_OUTPUT:
    case CAUSE_NONE: break;
    }
    return slot_say(r, VERDICT_OUTPUT, "wrote more than %lld bytes", (long long)o->output_bytes);
}

/* It ended by itself between two looks of ours; the numbers decide, not the moment. */
static bool is_late(const struct slot *s, struct judge_result *r, enum verdict *ret)
{
    if (r->cpu_ns > s->program->cpu_limit_ns) {
        *ret = say_cpu(s, r);
        return true;
    }
    if (r->wall_ns > s->opts->wall_limit_ns) {
        *ret = slot_say(r, VERDICT_TIMEOUT_WALL, "ran for %.2f s, limit %.2f s",
                        seconds(r->wall_ns), seconds(s->opts->wall_limit_ns));
        return true;
    }
    return false;
}

static enum verdict judge_signal(const struct slot *s, struct judge_result *r)
{
    int sig = WTERMSIG(s->wait_status);

    if (sig == SIGSYS)
        return slot_say(r, VERDICT_DENIED, "made a system call that is not allowed");
    if (sig == SIGKILL && slot_is_out_of_memory(s))
        return say_memory(s, r);
    if ((sig == SIGKILL || sig == SIGXCPU) && r->cpu_ns > s->program->cpu_limit_ns)
        return say_cpu(s, r);
    r->signal = sig;
    return slot_say(r, VERDICT_SIGNAL, "killed by signal %d (%s)", sig, strsignal(sig));
}

/* The kind of the report, if it carries the nonce that only its reader knows; else 0. */
static char proven_kind(const struct slot *s)
{
    if (s->n_reported < 1 + NONCE_BYTES ||
        memcmp(s->report + 1, s->program->header.nonce, NONCE_BYTES) != 0)
        return 0;
    return s->report[0];
}

/* A failure as told by the checker, or by a candidate alone. */
static enum verdict judge_failure(const struct slot *s, char kind, const char *text, size_t len,
                                  struct judge_result *r)
{
    if (slot_is_out_of_memory(s))
        return say_memory(s, r);
    if (slot_is_fork_refused(s))
        return say_pids(s, r);
    text_visible(text, len, 0, r->details, sizeof(r->details));
    switch (kind) {
    case 'S': return VERDICT_SYNTAX;
    case 'M': return VERDICT_OOM;
    case 'D': return VERDICT_DISK;
    case 'N': return s->has_cgroup ? VERDICT_FAIL : VERDICT_PIDS; /* the group would know */
    case 'O': return VERDICT_OUTPUT;
    case 'V': return VERDICT_FORGED;
    case 'F': return VERDICT_FAIL;
    default: return slot_say(r, VERDICT_FAIL, "failed with a report of its own");
    }
}

/* How the candidate ended, where nobody speaks for it. */
static enum verdict judge_end(const struct slot *s, struct judge_result *r)
{
    enum verdict v;

    if (!s->has_exited) {
        if (slot_is_out_of_memory(s)) /* the kernel may pick init, or all at once */
            return say_memory(s, r);
        return slot_say(r, VERDICT_INTERNAL, "the sandbox's first process was killed from outside");
    }
    if (WIFSIGNALED(s->wait_status))
        return judge_signal(s, r);
    if (is_late(s, r, &v))
        return v;
    if (WEXITSTATUS(s->wait_status) == 0)
        return slot_say(r, VERDICT_FORGED,
                        "exited with status 0, but the tests did not run to their end");
    if (slot_is_out_of_memory(s))
        return say_memory(s, r);
    if (slot_is_fork_refused(s))
        return say_pids(s, r);
    return slot_say(r, VERDICT_FAIL, "exited with status %d", WEXITSTATUS(s->wait_status));
}

/* Mode one-process: the candidate's report counts with its exit status. */
static enum verdict judge_alone(const struct slot *s, struct judge_result *r)
{
    const size_t len = s->n_reported < sizeof(s->report) ? s->n_reported : sizeof(s->report);
    const size_t head = 1 + NONCE_BYTES;
    const char kind = proven_kind(s);
    enum verdict v;

    if (!s->has_exited || WIFSIGNALED(s->wait_status))
        return judge_end(s, r);
    if (kind == 'P' && s->n_reported == head && WEXITSTATUS(s->wait_status) == 0)
        return is_late(s, r, &v) ? v : slot_say(r, VERDICT_PASS, "passed");
    if (WEXITSTATUS(s->wait_status) == 0 || len == 0 || is_late(s, r, &v))
        return judge_end(s, r);
    if (kind == 'I') { /* before any of the program ran: the tests do not compile */
        text_visible(s->report + head, len - head, 0, r->details, sizeof(r->details));
        return VERDICT_INTERNAL;
    }
    return judge_failure(s, s->report[0], s->report + 1, len - 1, r);
}

/* The checker died before it said anything. */
static enum verdict judge_lost_checker(const struct slot *s, int status, struct judge_result *r)
{
    enum verdict v;

    if (is_late(s, r, &v))
        return v;
    if (WIFSIGNALED(status))
        return slot_say(r, VERDICT_INTERNAL, "the checker was killed by signal %d",
                        WTERMSIG(status));
    return slot_say(r, VERDICT_INTERNAL, "the checker exited with status %d and no report",
                    WEXITSTATUS(status));
}

/* Mode two-process. */
static enum verdict judge_checked(const struct slot *s, int checker_status, struct judge_result *r)
{
    const size_t len = s->n_reported < sizeof(s->report) ? s->n_reported : sizeof(s->report);
    const size_t head = 1 + NONCE_BYTES;
    const char kind = proven_kind(s);
    enum verdict v;

    if (kind == 'E' || s->is_checker_killed)
        return judge_end(s, r);
    if (kind == 0)
        return judge_lost_checker(s, checker_status, r);
    if (kind == 'I') {
        text_visible(s->report + head, len - head, 0, r->details, sizeof(r->details));
        return VERDICT_INTERNAL;
    }
    if (is_late(s, r, &v))
        return v;
    if (kind == 'P')
        return slot_say(r, VERDICT_PASS, "passed");
    return judge_failure(s, kind, s->report + head, len - head, r);
}

enum verdict slot_decide(const struct slot *s, int checker_status, struct judge_result *r)
{
    if (s->failure.kind == CTL_FAILED)
        return slot_say(r, VERDICT_INTERNAL, "sandbox: cannot %s: %s", s->failure.what,
                        strerror(s->failure.value));
    if (s->cause != CAUSE_NONE ||
        (int64_t)(s->out.n_total + s->err.n_total) > s->opts->output_bytes)
        return judge_cause(s, r);
    return s->program->mode == JUDGE_ONE_PROCESS ? judge_alone(s, r)
                                                 : judge_checked(s, checker_status, r);
}
