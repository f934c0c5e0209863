/* Histograms of durations: base/histogram.h. */
#include "base/histogram.h"

#include <inttypes.h>
#include <math.h>

#include "base/json.h"

enum { PER_OCTAVE = 8 };

static int bucket_of(int64_t value)
{
    int b = value > 1 ? (int)floor(PER_OCTAVE * log2((double)value)) : 0;

    return b < HISTOGRAM_BUCKETS ? b : HISTOGRAM_BUCKETS - 1;
}

void histogram_add(struct histogram *h, int64_t value)
{
    if (value < 1)
        value = 1;
    h->min = h->n && h->min < value ? h->min : value;
    h->max = h->n && h->max > value ? h->max : value;
    h->n++;
    h->sum += value;
    h->counts[bucket_of(value)]++;
}

void histogram_merge(struct histogram *h, const struct histogram *from)
{
    if (!from->n)
        return;
    h->min = h->n && h->min < from->min ? h->min : from->min;
    h->max = h->n && h->max > from->max ? h->max : from->max;
    h->n += from->n;
    h->sum += from->sum;
    for (int b = 0; b < HISTOGRAM_BUCKETS; b++)
        h->counts[b] += from->counts[b];
}

int64_t histogram_quantile(const struct histogram *h, double q)
{
    int64_t rank = (int64_t)ceil(q * (double)h->n), value;
    int b = 0;

    if (!h->n)
        return 0;
    for (int64_t n = h->counts[0]; n < rank && b < HISTOGRAM_BUCKETS - 1;)
        n += h->counts[++b];
    value = (int64_t)llround(exp2((b + 0.5) / PER_OCTAVE));
    return value < h->min ? h->min : value > h->max ? h->max : value;
}

void histogram_put_json(const struct histogram *h, struct buf *ret)
{
    const char *comma = "";

    buf_putc(ret, '[');
    for (int b = 0; b < HISTOGRAM_BUCKETS; b++)
        if (h->counts[b]) {
            buf_printf(ret, "%s[%d,%" PRId64 "]", comma, b, h->counts[b]);
            comma = ",";
        }
    buf_putc(ret, ']');
}

enum status histogram_read_json(const char *text, size_t len, struct histogram *ret,
                                struct error *err)
{
    json_t *list = NULL;
    size_t i;
    const json_t *x;
    enum status st = json_parse(text, len, "histogram", 0, &list, err);

    if (st)
        return st;
    *ret = (struct histogram){ 0 };
    if (!json_is_array(list) || json_array_size(list) > HISTOGRAM_BUCKETS)
        st = error_set(err, ST_INVALID, "a histogram is not a list of at most %d buckets",
                       (int)HISTOGRAM_BUCKETS);
    for (i = 0; !st && i < json_array_size(list); i++) {
        const json_t *bucket, *count;

        x = json_array_get(list, i);
        bucket = json_array_get(x, 0);
        count = json_array_get(x, 1);
        if (!json_is_integer(bucket) || !json_is_integer(count) || json_integer_value(bucket) < 0 ||
            json_integer_value(bucket) >= HISTOGRAM_BUCKETS || json_integer_value(count) < 0 ||
            json_integer_value(count) > INT64_MAX / HISTOGRAM_BUCKETS) {
            st = error_set(err, ST_INVALID,
                           "entry %zu of a histogram is not a bucket and its count", i);
            break;
        }
        ret->counts[json_integer_value(bucket)] += json_integer_value(count);
        ret->n += json_integer_value(count);
    }
    json_decref(list);
    return st;
}
