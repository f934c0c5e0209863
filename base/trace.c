/* NVTX ranges: base/trace.h. The header is all there is of it: it looks for a tool at the first
 * call. */
#include "base/trace.h"

#ifdef HAVE_NVTX
#include <nvtx3/nvToolsExt.h>

void trace_push(const char *name, int64_t number)
{
    nvtxEventAttributes_t a = { .version = NVTX_VERSION,
                                .size = NVTX_EVENT_ATTRIB_STRUCT_SIZE,
                                .payloadType = NVTX_PAYLOAD_TYPE_INT64,
                                .payload.llValue = number,
                                .messageType = NVTX_MESSAGE_TYPE_ASCII,
                                .message.ascii = name };

    (void)nvtxRangePushEx(&a);
}

void trace_pop(void)
{
    (void)nvtxRangePop();
}

#else

void trace_push(const char *name, int64_t number)
{
    (void)name;
    (void)number;
}

void trace_pop(void)
{
}

#endif
