/* The backends of this build. */
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/kernels.h"
#include "kernels/ref/ref.h"

#if defined(HAVE_CUDA)
/* kernels/cuda/cuda.h, whose weights are not those of the headers above */
extern const struct kernel_ops cuda_ops;
#endif

const struct kernel_ops *const kernel_backends[] = {
    &ref_ops,
    &cpu_ops,
#if defined(HAVE_CUDA)
    &cuda_ops,
#endif
    NULL,
};

const struct kernel_ops *kernel_backend_find(const char *name)
{
    for (const struct kernel_ops *const *b = kernel_backends; *b; b++)
        if (!strcmp((*b)->name, name))
            return *b;
    return NULL;
}

const struct kernel_ops *kernel_backend_best(void)
{
    const struct kernel_params params = { .n_threads = 1 };
    const struct kernel_ops *best = NULL;

    for (const struct kernel_ops *const *b = kernel_backends; *b; b++) {
        struct kernels *k = NULL;

        if ((*b)->open(&params, &k, NULL) == ST_OK)
            best = *b;
        (*b)->close(k);
    }
    return best;
}

enum status kernel_check_params(const struct kernel_ops *ops, const struct kernel_params *params,
                                struct error *err)
{
    if (params->isa && !ops->isa)
        return error_set(err, ST_INVALID, "backend '%s' has no instruction set '%s'", ops->name,
                         params->isa);
    if (params->numeric == KERNEL_FAST && !ops->has_fast)
        return error_set(err, ST_INVALID, "backend '%s' has no numeric mode 'fast'", ops->name);
    return ST_OK;
}
