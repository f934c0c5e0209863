/* Weights from a checkpoint or made up. */
#include "engine/weights.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/size.h"
#include "engine/safetensors.h"

enum { MAX_THREADS = 256 };
#define CHUNK ((int64_t)1 << 20) /* elements a thread makes at a time */

struct weights {
    struct tensor_spec *specs;
    struct host_matrix *m; /* (n) beside specs */
    size_t n;
    int64_t n_params, bytes;

    struct safetensors *file; /* a checkpoint, or else: */
    uint16_t *made;           /* (n_params) bf16, all tensors one after the other */
    size_t made_bytes;
    uint64_t seed;
};

static enum status weights_new(const struct model_config *c, struct weights **ret,
                               struct error *err)
{
    struct weights *w = calloc(1, sizeof(*w));
    enum status st;

    if (!w)
        return error_set(err, ST_NOMEM, "out of memory opening weights");
    st = tensor_list_new(c, &w->specs, &w->n, err);
    if (!st) {
        w->n_params = tensor_list_params(w->specs, w->n);
        w->m = calloc(w->n, sizeof(*w->m));
        if (!w->m)
            st = error_set(err, ST_NOMEM, "out of memory opening %zu tensors", w->n);
    }
    if (st)
        weights_close(w);
    else
        *ret = w;
    return st;
}

/* ---- a checkpoint ----------------------------------------------------------------------- */

static bool has_shape(const struct tensor *t, const int64_t *want, int n_dims)
{
    return t->n_dims == n_dims && memcmp(t->shape, want, (size_t)n_dims * sizeof(*want)) == 0;
}

/* "(288, 64)" for messages. */
static void shape_text(const int64_t *shape, int n_dims, struct error *ret)
{
    size_t at = 0;

    ret->text[0] = '\0';
    for (int i = 0; i < n_dims; i++)
        at += (size_t)snprintf(ret->text + at, sizeof(ret->text) - at, "%s%lld", i ? ", " : "",
                               (long long)shape[i]);
}

static enum status refuse_shape(const struct safetensors *file, const struct tensor *t,
                                const int64_t *want, int n_dims, struct error *err)
{
    struct error has, needs;

    shape_text(t->shape, t->n_dims, &has);
    shape_text(want, n_dims, &needs);
    return error_set(err, ST_INVALID, "'%s' tensor '%s' has shape (%s), config.json needs (%s)",
                     safetensors_shard_path(file, t->i_shard), t->name, has.text, needs.text);
}

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t) * (const struct tensor *const *)a;
    uintptr_t y = (uintptr_t) * (const struct tensor *const *)b;

    return x < y ? -1 : x > y;
}

/* ST_INVALID, naming it, if the file has a tensor that is not among the n of found, which are
 * sorted here. */
static enum status refuse_extra(const struct safetensors *file, const struct tensor **found,
                                size_t n, struct error *err)
{
    qsort(found, n, sizeof(*found), by_address);
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const struct tensor *t = safetensors_at(file, i);

        if (!bsearch(&t, found, n, sizeof(*found), by_address))
            return error_set(err, ST_INVALID,
                             "'%s': tensor '%.100s' is not part of the model that config.json "
                             "describes",
                             safetensors_shard_path(file, t->i_shard), t->name);
    }
    return ST_OK;
}

/* Tensor i of the list in the file: by its own name or, of an expert, as a part of what all of the
 * layer are merged in. */
static enum status match_one(struct weights *w, const char *dir, size_t i,
                             const struct tensor **ret, struct error *err)
{
    const struct tensor_spec *spec = &w->specs[i];
    const int64_t want[3] = { spec->n_merged, spec->rows, spec->cols };
    const struct tensor *t = safetensors_find(w->file, spec->name);
    int n_dims = spec->n_dims;
    size_t bytes, at = 0;
    char merged[sizeof(spec->name)];

    if (!t && spec->n_merged) {
        tensor_merged_name(spec, merged);
        t = safetensors_find(w->file, merged);
        at = (size_t)spec->expert;
        n_dims = 3;
    }
    if (!t)
        return error_set(err, ST_INVALID, "'%s': tensor '%s' is missing", dir, spec->name);
    if (!has_shape(t, want + 3 - n_dims, n_dims))
        return refuse_shape(w->file, t, want + 3 - n_dims, n_dims, err);
    bytes = (size_t)(spec->rows * spec->cols) * dtype_size(t->dtype);
    w->m[i] = (struct host_matrix){ .data = (const char *)t->data + at * bytes,
                                    .dtype = t->dtype,
                                    .rows = spec->rows,
                                    .cols = spec->cols };
    w->bytes += (int64_t)bytes;
    *ret = t;
    return ST_OK;
}

static enum status match(struct weights *w, const char *dir, struct error *err)
{
    const struct tensor **found = calloc(w->n, sizeof(*found));
    enum status st = ST_OK;

    if (!found)
        return error_set(err, ST_NOMEM, "out of memory checking %zu tensors", w->n);
    for (size_t i = 0; i < w->n && !st; i++)
        st = match_one(w, dir, i, &found[i], err);
    if (!st)
        st = refuse_extra(w->file, found, w->n, err);
    free(found);
    return st;
}

enum status weights_open(const char *dir, const struct model_config *c, struct weights **ret,
                         struct error *err)
{
    struct weights *w = NULL;
    enum status st = weights_new(c, &w, err);

    if (!st)
        st = safetensors_open_dir(dir, &w->file, err);
    if (!st)
        st = match(w, dir, err);
    if (st)
        weights_close(w);
    else
        *ret = w;
    return st;
}

/* ---- dummy ------------------------------------------------------------------------------ */

enum status weights_open_dummy(const struct model_config *c, uint64_t seed, struct weights **ret,
                               struct error *err)
{
    struct weights *w = NULL;
    enum status st = weights_new(c, &w, err);
    int64_t at = 0;
    void *p;

    if (st)
        return st;
    w->seed = seed;
    w->bytes = w->n_params * 2;
    if (!size_mul((size_t)w->n_params, 2, &w->made_bytes)) {
        weights_close(w);
        return error_set(err, ST_NOMEM, "%lld parameters do not fit an address space",
                         (long long)w->n_params);
    }
    p = mmap(NULL, w->made_bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        st = error_set(err, ST_NOMEM, "no room for %zu bytes of dummy weights", w->made_bytes);
        w->made_bytes = 0;
        weights_close(w);
        return st;
    }
    w->made = p;
    (void)madvise(p, w->made_bytes, MADV_HUGEPAGE);
    for (size_t i = 0; i < w->n; i++) {
        const struct tensor_spec *s = &w->specs[i];

        w->m[i] = (struct host_matrix){
            .data = w->made + at, .dtype = DT_BF16, .rows = s->rows, .cols = s->cols
        };
        at += s->rows * s->cols;
    }
    *ret = w;
    return ST_OK;
}

struct filler {
    const struct weights *w;
    size_t i;          /* the first tensor */
    int64_t first;     /* its first element in w->made */
    int64_t end;       /* behind the last element */
    atomic_llong next; /* first element of w->made that no thread has taken yet */
    const volatile sig_atomic_t *n_stops;
};

static void *fill_thread(void *arg)
{
    struct filler *f = arg;
    const struct weights *w = f->w;
    int64_t at, first = f->first; /* of tensor i, in w->made */
    size_t i = f->i;

    while (!(f->n_stops && *f->n_stops) && (at = atomic_fetch_add(&f->next, CHUNK)) < f->end) {
        int64_t end = at + CHUNK < f->end ? at + CHUNK : f->end;

        while (at < end) {
            int64_t size = w->specs[i].rows * w->specs[i].cols, stop;

            if (at >= first + size) {
                first += size;
                i++;
                continue;
            }
            stop = end < first + size ? end : first + size;
            dummy_fill(&w->specs[i], w->seed, at - first, (size_t)(stop - at), w->made + at);
            at = stop;
        }
    }
    return NULL;
}

static int usable_cpus(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    return CPU_COUNT(&set);
}

/* Bytes of tensors [i, i + n), which lie one after the other. */
static size_t run_bytes(const struct weights *w, size_t i, size_t n)
{
    size_t bytes = 0;

    for (size_t k = i; k < i + n; k++)
        bytes += (size_t)(w->m[k].rows * w->m[k].cols) * dtype_size(w->m[k].dtype);
    return bytes;
}

void weights_fill(struct weights *w, size_t i, size_t n, int n_threads,
                  const volatile sig_atomic_t *n_stops)
{
    struct filler f = { .w = w, .i = i, .n_stops = n_stops };
    int64_t n_values = (int64_t)(run_bytes(w, i, n) / sizeof(*w->made));
    pthread_t threads[MAX_THREADS];
    int started = 0, want = n_threads > 0 ? n_threads : usable_cpus();

    assert(i + n <= w->n);
    if (!w->made || !n)
        return;
    f.first = (const uint16_t *)w->m[i].data - w->made;
    f.next = f.first;
    f.end = f.first + n_values;
    if (want > MAX_THREADS)
        want = MAX_THREADS;
    if (n_values / CHUNK < want)
        want = (int)(n_values / CHUNK) + 1;
    while (started < want - 1 && pthread_create(&threads[started], NULL, fill_thread, &f) == 0)
        started++;
    fill_thread(&f);
    for (int k = 0; k < started; k++)
        pthread_join(threads[k], NULL);
}

/* The pages that lie in [data, data + bytes) entirely. */
static void drop_pages(const void *data, size_t bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)data + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)data + bytes) / page * page;

    if (end > first)
        (void)madvise((void *)first, end - first, MADV_DONTNEED);
}

void weights_drop(struct weights *w, size_t i, size_t n)
{
    assert(i + n <= w->n);
    if (w->made && n) /* one run */
        drop_pages(w->m[i].data, run_bytes(w, i, n));
    else
        for (size_t k = i; k < i + n; k++)
            drop_pages(w->m[k].data, run_bytes(w, k, 1));
}

/* ---- both ------------------------------------------------------------------------------- */

void weights_close(struct weights *w)
{
    if (!w)
        return;
    if (w->made)
        munmap(w->made, w->made_bytes);
    safetensors_close(w->file);
    free(w->specs);
    free(w->m);
    free(w);
}

bool weights_made(const struct weights *w, size_t i, struct made_matrix *ret)
{
    assert(i < w->n);
    return w->made && w->specs[i].rows > 1 && dummy_is_made(&w->specs[i], w->seed, ret);
}

size_t weights_count(const struct weights *w)
{
    return w->n;
}

const struct tensor_spec *weights_spec(const struct weights *w, size_t i)
{
    assert(i < w->n);
    return &w->specs[i];
}

const struct host_matrix *weights_at(const struct weights *w, size_t i)
{
    assert(i < w->n);
    return &w->m[i];
}

int64_t weights_n_params(const struct weights *w)
{
    return w->n_params;
}

int64_t weights_bytes(const struct weights *w)
{
    return w->bytes;
}

enum status weights_sha256(const struct weights *w, const volatile sig_atomic_t *n_stops,
                           char ret[65], struct error *err)
{
    struct sha256 *h;
    char text[80];

    if (w->file)
        return safetensors_sha256(w->file, n_stops, ret, err);
    h = sha256_new();
    if (!h)
        return error_set(err, ST_NOMEM, "out of memory hashing weights");
    snprintf(text, sizeof(text), "dummy 1 seed %llu", (unsigned long long)w->seed);
    sha256_add_str(h, text);
    for (size_t i = 0; i < w->n; i++) {
        snprintf(text, sizeof(text), "%lld %lld", (long long)w->specs[i].rows,
                 (long long)w->specs[i].cols);
        sha256_add_str(h, w->specs[i].name);
        sha256_add_str(h, text);
    }
    sha256_finish(h, ret);
    return ST_OK;
}

enum status weights_check_files(const struct weights *w, struct error *err)
{
    return w->file ? safetensors_check_files(w->file, err) : ST_OK;
}
