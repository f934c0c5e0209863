/*
 * A tool that listens to NVTX: writes a line for each range to the file $FAKE_NVTX, "> name number"
 * where one begins and "<" where it ends. Loaded by NVTX itself: NVTX_INJECTION64_PATH.
 */
#include <nvtx3/nvToolsExt.h>
#include <stdio.h>
#include <stdlib.h>

int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get_table);

static FILE *out;
static int depth;

static int push(const nvtxEventAttributes_t *a)
{
    fprintf(out, "> %s %lld\n", a->message.ascii, (long long)a->payload.llValue);
    return depth++;
}

static int pop(void)
{
    fputs("<\n", out);
    return --depth;
}

int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get_table)
{
    const NvtxExportTableCallbacks *callbacks = get_table(NVTX_ETID_CALLBACKS);
    const char *path = getenv("FAKE_NVTX");
    NvtxFunctionTable table = NULL;
    unsigned size = 0;

    out = path ? fopen(path, "w") : NULL;
    if (!out || !callbacks ||
        !callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &table, &size) ||
        size <= NVTX_CBID_CORE_RangePushEx || size <= NVTX_CBID_CORE_RangePop)
        return 0;
    *table[NVTX_CBID_CORE_RangePushEx] = (NvtxFunctionPointer)push;
    *table[NVTX_CBID_CORE_RangePop] = (NvtxFunctionPointer)pop;
    return 1;
}
