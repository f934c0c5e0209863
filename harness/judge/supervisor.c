/* The supervisor: one event loop over the sockets of the program and the slots. */
#include "harness/judge/supervisor.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/size.h"
#include "harness/judge/cgroup.h"
#include "harness/judge/slot.h"

struct queue {
    struct program *first, **last;
    size_t n;
};

struct answer { /* waits for room in the results socket */
    struct answer *next;
    struct judge_result result;
};

struct supervisor {
    const struct supervisor_config *config;
    struct cgroup_home home;
    bool has_home;
    struct slot *slots;
    bool *is_broken; /* per slot: never used again */
    int n_slots, n_running;
    const struct slot *alone; /* a second attempt runs: nothing else may start */

    struct queue waiting, retries;
    struct answer *answers, **last_answer;

    struct wire_job head; /* of the job that is coming in */
    size_t n_head;
    struct program *coming; /* NULL: still reading the head */
    size_t n_coming;        /* bytes of its text */
    uint64_t n_to_skip;     /* of a job there was no memory for */
};

static void queue_put(struct queue *q, struct program *p)
{
    p->next = NULL;
    if (!q->first)
        q->last = &q->first;
    *q->last = p;
    q->last = &p->next;
    q->n++;
}

static struct program *queue_take(struct queue *q)
{
    struct program *p = q->first;

    q->first = p->next;
    q->n--;
    return p;
}

/* --- results out ------------------------------------------------------------------------------ */

static void send_answers(struct supervisor *sv)
{
    while (sv->answers) {
        struct answer *a = sv->answers;
        ssize_t n =
            send(sv->config->results, &a->result, sizeof(a->result), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) /* full: poll says when to go on. Gone: so is the jobs socket, soon. */
            return;
        sv->answers = a->next;
        free(a);
    }
}

static void answer(struct supervisor *sv, const struct judge_result *r)
{
    struct answer *a = malloc(sizeof(*a));

    if (!a) {
        /* Nothing can be promised any more; the program sees the supervisor gone. */
        _exit(1);
    }
    a->next = NULL;
    a->result = *r;
    if (!sv->answers)
        sv->last_answer = &sv->answers;
    *sv->last_answer = a;
    sv->last_answer = &a->next;
    send_answers(sv);
}

static void answer_internal(struct supervisor *sv, uint64_t id, int n_attempts, const char *text)
{
    struct judge_result r = { .id = id, .verdict = VERDICT_INTERNAL, .attempts = n_attempts };

    snprintf(r.details, sizeof(r.details), "%.*s", (int)sizeof(r.details) - 1, text);
    answer(sv, &r);
}

/* --- jobs in ---------------------------------------------------------------------------------- */

static void begin_program(struct supervisor *sv)
{
    const struct wire_job *h = &sv->head;
    const size_t lens[] = { h->code_len, h->tests_len, h->helpers_len, h->entry_len };
    size_t text_len = 0, size = 0;
    struct program *p = NULL;
    bool is_ok = true;

    for (size_t i = 0; i < sizeof(lens) / sizeof(*lens); i++)
        is_ok = is_ok && size_add(text_len, lens[i], &text_len);
    if (is_ok && size_add(text_len, sizeof(*p), &size))
        p = malloc(size);
    if (!p) {
        sv->n_to_skip = h->code_len + h->tests_len + h->helpers_len + h->entry_len;
        answer_internal(sv, sv->head.id, 1, "out of memory for the program's text");
        return;
    }
    memset(p, 0, sizeof(*p));
    p->id = sv->head.id;
    p->cpu_limit_ns = sv->config->opts.cpu_limit_ns;
    if (sv->head.cpu_limit_ns > 0 && sv->head.cpu_limit_ns < p->cpu_limit_ns)
        p->cpu_limit_ns = sv->head.cpu_limit_ns;
    p->is_tried_once = sv->head.is_tried_once != 0;
    p->header.code_len = h->code_len;
    p->header.tests_len = h->tests_len;
    p->header.helpers_len = h->helpers_len;
    p->header.entry_len = h->entry_len;
    p->mode = h->mode == JUDGE_ONE_PROCESS ? JUDGE_ONE_PROCESS : JUDGE_TWO_PROCESS;
    p->input_len = sizeof(p->header) + text_len;
    sv->coming = p;
    sv->n_coming = 0;
}

/* Read what there is. False once the program has gone. */
static bool read_jobs(struct supervisor *sv)
{
    char waste[4096];

    for (;;) {
        char *to = (char *)&sv->head + sv->n_head;
        size_t want = sizeof(sv->head) - sv->n_head;
        ssize_t n;

        if (sv->coming) {
            to = sv->coming->text + sv->n_coming;
            want = sv->coming->input_len - sizeof(sv->coming->header) - sv->n_coming;
        } else if (sv->n_to_skip > 0) {
            to = waste;
            want = sv->n_to_skip < sizeof(waste) ? sv->n_to_skip : sizeof(waste);
        }
        if (want > 0) {
            n = recv(sv->config->jobs, to, want, MSG_DONTWAIT);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                return errno == EAGAIN || errno == EWOULDBLOCK;
            if (n == 0)
                return false;
            if (sv->coming)
                sv->n_coming += (size_t)n;
            else if (sv->n_to_skip > 0)
                sv->n_to_skip -= (uint64_t)n;
            else
                sv->n_head += (size_t)n;
            want -= (size_t)n;
        }
        if (want > 0 || sv->n_to_skip > 0)
            continue;
        if (sv->coming) {
            queue_put(&sv->waiting, sv->coming);
            sv->coming = NULL;
        } else if (sv->n_head == sizeof(sv->head)) {
            sv->n_head = 0;
            begin_program(sv);
        }
    }
}

/* --- programs -----------------------------------------------------------------------------------
 */

static void start(struct supervisor *sv, struct slot *s, struct program *p)
{
    struct error err;

    p->n_attempts++;
    if (slot_start(s, p, &err)) {
        answer_internal(sv, p->id, p->n_attempts, err.text);
        free(p);
        return;
    }
    sv->n_running++;
}

static struct slot *idle_slot(struct supervisor *sv)
{
    for (int i = 0; i < sv->n_slots; i++)
        if (!sv->slots[i].program && !sv->is_broken[i])
            return &sv->slots[i];
    return NULL;
}

/*
 * Start what can be started. Second attempts run alone: they wait until nothing else is to be
 * done, or until there are as many as slots, when the slots run dry for them.
 */
static void schedule(struct supervisor *sv)
{
    struct slot *s;

    while (!sv->alone && (s = idle_slot(sv))) {
        bool is_retry_time =
            sv->retries.n > 0 && (sv->waiting.n == 0 || sv->retries.n >= (size_t)sv->n_slots);
        if (is_retry_time && sv->n_running > 0)
            return;
        if (is_retry_time) {
            start(sv, s, queue_take(&sv->retries));
            sv->alone = s->program ? s : NULL;
        } else if (sv->waiting.n > 0) {
            start(sv, s, queue_take(&sv->waiting));
        } else {
            return;
        }
    }
    /* With every slot broken nothing can run; say so rather than wait for ever. */
    for (int i = 0; i < sv->n_slots; i++)
        if (!sv->is_broken[i])
            return;
    for (struct queue *q = &sv->waiting; q; q = q == &sv->waiting ? &sv->retries : NULL)
        while (q->n > 0) {
            struct program *p = queue_take(q);
            answer_internal(sv, p->id, p->n_attempts, "no worker is left: processes stayed behind");
            free(p);
        }
}

static void finish(struct supervisor *sv, struct slot *s)
{
    struct program *p = s->program;
    struct judge_result r;

    if (!slot_finish(s, &r))
        sv->is_broken[s->n] = true;
    sv->n_running--;
    if (sv->alone == s)
        sv->alone = NULL;
    if ((r.verdict == VERDICT_TIMEOUT_CPU || r.verdict == VERDICT_TIMEOUT_WALL) &&
        p->n_attempts == 1 && !p->is_tried_once) {
        p->first_verdict = r.verdict;
        queue_put(&sv->retries, p);
        return;
    }
    answer(sv, &r);
    free(p);
}

/* --- the loop -----------------------------------------------------------------------------------
 */

static struct timespec until_next_check(const struct supervisor *sv)
{
    int64_t now = clock_mono_ns(), next = now + 1000000000;

    for (int i = 0; i < sv->n_slots; i++)
        if (sv->slots[i].program && sv->slots[i].next_check_ns < next)
            next = sv->slots[i].next_check_ns;
    next = next > now ? next - now : 0;
    return (struct timespec){ .tv_sec = next / 1000000000, .tv_nsec = next % 1000000000 };
}

static bool loop_once(struct supervisor *sv, struct pollfd *fds, size_t *at)
{
    size_t n = 2;

    fds[0] = (struct pollfd){ .fd = sv->config->jobs, .events = POLLIN };
    fds[1] = (struct pollfd){ .fd = sv->config->results, .events = sv->answers ? POLLOUT : 0 };
    for (int i = 0; i < sv->n_slots; i++) {
        at[i] = n;
        n += slot_poll_fds(&sv->slots[i], fds + n);
    }
    at[sv->n_slots] = n;
    struct timespec timeout = until_next_check(sv);
    if (ppoll(fds, n, sv->n_running ? &timeout : NULL, NULL) < 0)
        return errno == EINTR;

    if (fds[1].revents & (POLLHUP | POLLERR))
        return false;
    if (fds[1].revents & POLLOUT)
        send_answers(sv);
    int64_t now = clock_mono_ns();
    for (int i = 0; i < sv->n_slots; i++) {
        struct slot *s = &sv->slots[i];
        if (!s->program)
            continue;
        if (slot_service(s, fds + at[i], at[i + 1] - at[i]))
            finish(sv, s);
        else
            slot_check(s, now);
    }
    if (fds[0].revents && !read_jobs(sv))
        return false;
    schedule(sv);
    return true;
}

void supervisor_detach(const int *kept, size_t n_kept)
{
    sigset_t none;
    unsigned from = 3;

    sigemptyset(&none);
    for (int s = 1; s < NSIG; s++)
        if (s != SIGKILL && s != SIGSTOP)
            signal(s, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    if (geteuid() == 0)
        setgroups(0, NULL); /* refused in a user namespace of one's own: then there are none */
    for (size_t i = 0; i < n_kept; i++) {
        if ((unsigned)kept[i] > from)
            syscall(SYS_close_range, from, (unsigned)kept[i] - 1, 0);
        if ((unsigned)kept[i] >= from)
            from = (unsigned)kept[i] + 1;
    }
    syscall(SYS_close_range, from, ~0U, 0);
}

/* A slot takes a dozen descriptors, so a hundred of them are more than the usual soft limit. */
static void raise_descriptor_limit(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l); /* refused: then programs that do not start say so */
    }
}

static enum status set_up(struct supervisor *sv, struct error *err)
{
    const size_t n = (size_t)sv->config->opts.n_workers;
    enum status st = ST_OK;

    raise_descriptor_limit();
    if (sv->config->level >= SANDBOX_FULL) {
        st = cgroup_home_open(&sv->home, err);
        if (st)
            return st;
        sv->has_home = true;
    }
    sv->slots = calloc(n, sizeof(*sv->slots));
    sv->is_broken = calloc(n, sizeof(*sv->is_broken));
    if (!sv->slots || !sv->is_broken)
        return error_set(err, ST_NOMEM, "out of memory for %zu workers", n);
    while (st == ST_OK && sv->n_slots < sv->config->opts.n_workers) {
        st = slot_open(&sv->slots[sv->n_slots], sv->n_slots, sv->config->python, sv->config->level,
                       &sv->config->opts, sv->has_home ? &sv->home : NULL, err);
        if (st == ST_OK)
            sv->n_slots++;
    }
    return st;
}

_Noreturn void supervisor_main(const struct supervisor_config *config)
{
    struct supervisor sv = { .config = config };
    const size_t n_slots = (size_t)config->opts.n_workers, n_fds = 2 + n_slots * SLOT_FDS;
    struct pollfd *fds = calloc(n_fds, sizeof(*fds));
    size_t *at = calloc(n_slots + 1, sizeof(*at));
    struct wire_hello hello = { .status = ST_OK };
    struct error err = { .status = ST_NOMEM, .text = "out of memory for the supervisor" };
    enum status st = fds && at ? set_up(&sv, &err) : ST_NOMEM;

    prctl(PR_SET_NAME, "desbench-judge", 0, 0, 0);
    hello.status = (int32_t)st;
    if (st)
        snprintf(hello.text, sizeof(hello.text), "%.*s", (int)sizeof(hello.text) - 1, err.text);
    if (send(config->results, &hello, sizeof(hello), MSG_NOSIGNAL) == (ssize_t)sizeof(hello) &&
        st == ST_OK)
        while (loop_once(&sv, fds, at))
            ;
    for (int i = 0; sv.slots && i < sv.n_slots; i++)
        slot_close(&sv.slots[i]);
    if (sv.has_home)
        cgroup_home_close(&sv.home);
    /* Queues and buffers go with the process. */
    _exit(0);
}
