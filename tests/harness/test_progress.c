/* Progress: durations, estimates, and lines that fit. */
#include <criterion/criterion.h>
#include <string.h>

#include "harness/progress.h"

static const int64_t s_ns = 1000000000;

Test(progress, durations_are_rounded_to_seconds_and_never_overflow)
{
    static const struct {
        int64_t ns;
        const char *text;
    } cases[] = {
        { 0, "0:00" },
        { 499999999, "0:00" },
        { 500000000, "0:01" },
        { INT64_C(59999999999), "1:00" },
        { INT64_C(3599) * 1000000000, "59:59" },
        { INT64_C(3723) * 1000000000, "1:02:03" },
        { INT64_C(359999) * 1000000000, "99:59:59" },
        { INT64_C(432000) * 1000000000, "5 days" },
        { INT64_MAX, "106751 days" },
        { -1, "?" },
    };
    char text[32];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        progress_duration(cases[i].ns, text, sizeof(text));
        cr_assert_str_eq(text, cases[i].text, "%lld: '%s'", (long long)cases[i].ns, text);
    }
}

Test(progress, the_estimate_goes_by_work_and_says_when_it_cannot)
{
    cr_assert_eq(progress_left_ns(10 * s_ns, 1, 4), 30 * s_ns);
    cr_assert_eq(progress_left_ns(10 * s_ns, 4, 4), 0);
    cr_assert_eq(progress_left_ns(10 * s_ns, 0, 4), -1);
    cr_assert_eq(progress_left_ns(10 * s_ns, 5, 4), -1);
    cr_assert_eq(progress_left_ns(INT64_MAX, 1e-9, 1e9), -1);
}

Test(progress, a_line_is_cut_between_characters)
{
    char text[] = "a\xc3\xa9\xe2\x82\xac"
                  "bc";

    progress_cut(text, 99);
    cr_assert_eq(strlen(text), 8);
    progress_cut(text, 3);
    cr_assert_str_eq(text, "a\xc3\xa9\xe2\x82\xac");
    progress_cut(text, 2);
    cr_assert_str_eq(text, "a\xc3\xa9");
    progress_cut(text, 0);
    cr_assert_str_eq(text, "");
    progress_cut(text, -1);
    cr_assert_str_eq(text, "");
}

Test(progress, without_a_line_the_state_is_still_kept)
{
    struct progress p;

    progress_start(&p, "never", false, 10, 100);
    cr_assert_eq(p.mode, PROGRESS_OFF);
    progress_update(&p, 3, 30, "%s", "note");
    cr_assert_eq(p.done, 3);
    cr_assert_eq(p.work_done, 30);
    progress_stop(&p);
    progress_start(&p, "always", true, 10, 100);
    cr_assert_eq(p.mode, PROGRESS_OFF);
    progress_stop(&p);
}
