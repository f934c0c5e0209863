/*
 * Facts about the machine that a number depends on, as JSON. All are read from files that an
 * ordinary user may read; nothing is run and no library of a vendor is needed.
 *
 *   host, os, kernel, machine      names
 *   cpu_model, cpu_flags           flags: those that kernels/cpu chooses by, of what is present
 *   cores_online, cores_allowed    processors of the system, and of this process
 *   cpu_quota                      processors that the control group grants (cgroup v2)
 *   memory_bytes                   of the system
 *   memory_limit_bytes             of the control group (cgroup v2)
 *   governor                       frequency scaling of processor 0
 *   gpus [{name, uuid}], gpu_driver   as NVIDIA's kernel module reports them
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "results/internal.h"

enum { FILE_MAX_BYTES = 16 << 20 }; /* /proc/cpuinfo of 1000 processors has 2 MB */

static const char *const flags_that_matter[] = {
    "avx2",        "fma",      "f16c",     "avx512f",  "avx512bw", "avx512vl", "avx512_vnni",
    "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8", "asimd",    "sve",      "bf16",
};

struct env {
    struct buf *out;
    const char *root;
    struct buf path, text; /* scratch */
    bool is_first;
};

/* The file's text in e->text, or false: the fact stays unknown. */
static bool env_read(struct env *e, const char *path)
{
    struct error ignored;

    buf_clear(&e->path);
    buf_printf(&e->path, "%s%s", e->root, path);
    return buf_ok(&e->path) &&
           file_read(buf_str(&e->path), FILE_MAX_BYTES, &e->text, &ignored) == ST_OK &&
           e->text.len > 0;
}

/*
 * In "key<separator> value" lines, the value of the first line with that key, or NULL. A key is
 * followed by blanks and the separator only: "model" does not find "model name".
 */
static const char *find_value(const char *text, const char *key, char separator, size_t *ret_len)
{
    size_t n = strlen(key);

    while (*text) {
        const char *end = strchrnul(text, '\n');

        if (strncmp(text, key, n) == 0) {
            const char *p = text + n;
            while (p < end && (*p == ' ' || *p == '\t'))
                p++;
            if (p < end && *p == separator) {
                p++;
                while (p < end && (*p == ' ' || *p == '\t'))
                    p++;
                *ret_len = (size_t)(end - p);
                return p;
            }
        }
        text = *end ? end + 1 : end;
    }
    return NULL;
}

/* The same of a file of this process's control group, where cgroup v2 is mounted as usual. */
static bool env_read_cgroup(struct env *e, const char *name)
{
    struct buf path = { 0 };
    const char *s;
    size_t len;
    bool is_read = false;

    if (env_read(e, "/proc/self/cgroup") &&
        (s = find_value(buf_str(&e->text), "0:", ':', &len)) != NULL) { /* "0::/PATH" */
        buf_puts(&path, "/sys/fs/cgroup");
        buf_append(&path, s, len);
        buf_printf(&path, "/%s", name);
        is_read = buf_ok(&path) && env_read(e, buf_str(&path));
    }
    buf_release(&path);
    return is_read;
}

static void put_key(struct env *e, const char *key)
{
    buf_puts(e->out, e->is_first ? "\n  " : ",\n  ");
    e->is_first = false;
    json_put_str(e->out, key, strlen(key));
    buf_puts(e->out, ": ");
}

static void put_str(struct env *e, const char *key, const char *s, size_t len)
{
    while (len && isspace((unsigned char)s[len - 1]))
        len--;
    if (!len)
        return;
    put_key(e, key);
    json_put_str(e->out, s, len);
}

static void put_int(struct env *e, const char *key, long long v)
{
    put_key(e, key);
    buf_printf(e->out, "%lld", v);
}

static void put_os(struct env *e)
{
    const char *s;
    size_t len;

    if (!env_read(e, "/etc/os-release"))
        return;
    s = find_value(buf_str(&e->text), "PRETTY_NAME", '=', &len);
    if (!s)
        return;
    if (len >= 2 && (s[0] == '"' || s[0] == '\'') && s[len - 1] == s[0]) {
        s++;
        len -= 2;
    }
    put_str(e, "os", s, len);
}

/* Is `word` one of the blank-separated words of s? */
static bool has_word(const char *s, size_t len, const char *word)
{
    size_t n = strlen(word), at = 0;

    while (at < len) {
        size_t start, end;
        for (start = at; start < len && s[start] == ' '; start++)
            ;
        for (end = start; end < len && s[end] != ' '; end++)
            ;
        if (end - start == n && memcmp(s + start, word, n) == 0)
            return true;
        at = end;
    }
    return false;
}

static void put_cpu(struct env *e)
{
    const char *s;
    size_t len;
    bool is_first = true;

    if (!env_read(e, "/proc/cpuinfo"))
        return;
    s = find_value(buf_str(&e->text), "model name", ':', &len);
    if (s)
        put_str(e, "cpu_model", s, len);
    s = find_value(buf_str(&e->text), "flags", ':', &len); /* x86 */
    if (!s)
        s = find_value(buf_str(&e->text), "Features", ':', &len); /* Arm */
    if (!s)
        return;
    put_key(e, "cpu_flags");
    buf_putc(e->out, '[');
    for (size_t i = 0; i < sizeof(flags_that_matter) / sizeof(flags_that_matter[0]); i++) {
        if (!has_word(s, len, flags_that_matter[i]))
            continue;
        buf_printf(e->out, "%s\"%s\"", is_first ? "" : ", ", flags_that_matter[i]);
        is_first = false;
    }
    buf_putc(e->out, ']');
}

/* Processors that this process may run on; 0: unknown. The set grows until the kernel's fits. */
static int n_cores_allowed(void)
{
    for (int n = 1024; n <= 1 << 20; n *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)n);
        size_t size = CPU_ALLOC_SIZE((size_t)n);
        int rc, count;

        if (!set)
            return 0;
        rc = sched_getaffinity(0, size, set);
        count = rc == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (rc == 0)
            return count;
        if (errno != EINVAL)
            return 0;
    }
    return 0;
}

static void put_cores(struct env *e)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    int allowed = n_cores_allowed();
    char *end;

    if (online > 0)
        put_int(e, "cores_online", online);
    if (allowed > 0)
        put_int(e, "cores_allowed", allowed);
    if (env_read_cgroup(e, "cpu.max")) { /* "QUOTA PERIOD", microseconds, or "max PERIOD" */
        double quota = strtod(buf_str(&e->text), &end);
        double period = strtod(end, NULL);
        if (quota > 0 && period > 0) {
            put_key(e, "cpu_quota");
            json_put_num(e->out, quota / period);
        }
    }
}

static void put_memory(struct env *e)
{
    const char *s;
    char *end;
    size_t len;
    long long v;

    if (env_read(e, "/proc/meminfo") &&
        (s = find_value(buf_str(&e->text), "MemTotal", ':', &len)) != NULL) {
        v = strtoll(s, &end, 10);
        if (v > 0 && v <= INT64_MAX / 1024 && strncmp(end, " kB", 3) == 0)
            put_int(e, "memory_bytes", v * 1024);
    }
    if (env_read_cgroup(e, "memory.max")) { /* bytes, or "max" */
        v = strtoll(buf_str(&e->text), &end, 10);
        if (v > 0 && *end == '\n')
            put_int(e, "memory_limit_bytes", v);
    }
}

static int is_visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static void put_gpus(struct env *e)
{
    static const char dir[] = "/proc/driver/nvidia/gpus";
    struct dirent **list = NULL;
    struct buf name = { 0 };
    const char *s;
    size_t len;
    int n, n_put = 0;

    if (env_read(e, "/proc/driver/nvidia/version")) {
        /* "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  DATE": the version is the
         * first word that begins with a digit and has a point */
        s = find_value(buf_str(&e->text), "NVRM version", ':', &len);
        for (size_t i = 0; s && i < len;) {
            size_t end = i;
            while (end < len && s[end] != ' ')
                end++;
            if (isdigit((unsigned char)s[i]) && memchr(s + i, '.', end - i)) {
                put_str(e, "gpu_driver", s + i, end - i);
                break;
            }
            for (i = end; i < len && s[i] == ' '; i++)
                ;
        }
    }
    buf_clear(&e->path);
    buf_printf(&e->path, "%s%s", e->root, dir);
    n = buf_ok(&e->path) ? scandir(buf_str(&e->path), &list, is_visible, alphasort) : -1;
    for (int i = 0; i < n; i++) {
        buf_clear(&name);
        buf_printf(&name, "%s/%s/information", dir, list[i]->d_name);
        if (buf_ok(&name) && env_read(e, buf_str(&name)) &&
            (s = find_value(buf_str(&e->text), "Model", ':', &len)) != NULL) {
            if (n_put++ == 0) {
                put_key(e, "gpus");
                buf_putc(e->out, '[');
            } else {
                buf_puts(e->out, ", ");
            }
            while (len && isspace((unsigned char)s[len - 1]))
                len--;
            buf_puts(e->out, "{\"name\": ");
            json_put_str(e->out, s, len);
            s = find_value(buf_str(&e->text), "GPU UUID", ':', &len);
            while (s && len && isspace((unsigned char)s[len - 1]))
                len--;
            if (s && len) {
                buf_puts(e->out, ", \"uuid\": ");
                json_put_str(e->out, s, len);
            }
            buf_putc(e->out, '}');
        }
        free(list[i]);
    }
    if (n_put)
        buf_putc(e->out, ']');
    free(list);
    buf_release(&name);
}

enum status env_capture_root(const char *root, struct buf *ret, struct error *err)
{
    struct env e = { .out = ret, .root = root, .is_first = true };
    struct utsname u;
    enum status st = ST_OK;

    buf_clear(ret);
    buf_putc(ret, '{');
    if (uname(&u) == 0) {
        put_str(&e, "host", u.nodename, strlen(u.nodename));
        put_str(&e, "kernel", u.release, strlen(u.release));
        put_str(&e, "machine", u.machine, strlen(u.machine));
    }
    put_os(&e);
    put_cpu(&e);
    put_cores(&e);
    put_memory(&e);
    if (env_read(&e, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))
        put_str(&e, "governor", buf_str(&e.text), e.text.len);
    put_gpus(&e);
    buf_puts(ret, "\n}\n");
    if (!buf_ok(ret))
        st = error_set(err, ST_NOMEM, "out of memory describing this machine");
    buf_release(&e.path);
    buf_release(&e.text);
    return st;
}

enum status env_capture_json(struct buf *ret, struct error *err)
{
    return env_capture_root("", ret, err);
}
