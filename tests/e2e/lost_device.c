/*
 * The program, but its device is lost at forward number $LOST_AT: linked with
 * --wrap=model_forward. What a lost device does to a run can be tested without one.
 */
#include <stdlib.h>

#include "engine/model.h"

enum status __real_model_forward(struct model *m, const struct forward_item *items, int n_items,
                                 struct forward_result *ret, struct error *err);
enum status __wrap_model_forward(struct model *m, const struct forward_item *items, int n_items,
                                 struct forward_result *ret, struct error *err);

enum status __wrap_model_forward(struct model *m, const struct forward_item *items, int n_items,
                                 struct forward_result *ret, struct error *err)
{
    static long n;
    const char *at = getenv("LOST_AT");

    if (at && ++n >= strtol(at, NULL, 10))
        return error_set(err, ST_DEVICE, "GPU 'made up' failed or is lost: cudaErrorLaunchFailure");
    return __real_model_forward(m, items, n_items, ret, err);
}
