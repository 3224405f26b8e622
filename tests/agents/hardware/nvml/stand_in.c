/* Stands for libnvidia-ml.so.1 in tests: answers as ../script.h says, from the file that NVML_SCRIPT names.
 *
 * HANDLE is what the answer is about: 0, 1 ... a GPU; 100, 101 ... a MIG instance of GPU 0 (200 ... of GPU 1);
 * - for none. Types and numbers are those of nvml.h.
 */
#define SCRIPT "NVML_SCRIPT"
#define NOT_SUPPORTED 3
#include "../script.h"

typedef unsigned long long u64;
#define INSUFFICIENT_SIZE 7
#define TIMEOUT 10

int nvmlInitWithFlags(unsigned flags) { char v[2][96]; int n, e = answer("init", "-", v, 2, &n); return e == 3 ? 0 : e; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int error) { return "an error of the stand-in"; }
int nvmlDeviceGetCount_v2(unsigned *count) { ASK("count", "-", 2); *count = atoi(v[0]); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    char text[16]; snprintf(text, sizeof text, "%u", index);
    ASK("handle", text, 2); *handle = handle_of(atoi(v[0])); return 0;
}
int nvmlDeviceGetUUID(void *h, char *out, unsigned size) { ASK("uuid", about(h), 2); snprintf(out, size, "%s", v[0]); return 0; }
int nvmlDeviceGetName(void *h, char *out, unsigned size) { ASK("name", about(h), 2); snprintf(out, size, "%s", v[0]); return 0; }
int nvmlDeviceGetMemoryInfo(void *h, u64 *out) {
    ASK("memory", about(h), 2); out[0] = atoll(v[1]); out[2] = atoll(v[0]); out[1] = out[0] - out[2]; return 0;
}
struct memory_v2 { unsigned version; u64 total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(void *h, struct memory_v2 *out) {
    ASK("memory_v2", about(h), 3); /* USED TOTAL RESERVED */
    if (out->version != (sizeof *out | 2u << 24)) return 25;
    out->used = atoll(v[0]), out->total = atoll(v[1]), out->reserved = atoll(v[2]);
    out->free = out->total - out->reserved - out->used; return 0;
}
int nvmlDeviceGetUtilizationRates(void *h, unsigned *out) { ASK("use", about(h), 2); out[0] = atoi(v[0]); out[1] = 0; return 0; }
int nvmlDeviceGetPowerUsage(void *h, unsigned *out) { ASK("power", about(h), 2); *out = atoi(v[0]); return 0; }
int nvmlDeviceGetTemperature(void *h, int sensor, unsigned *out) { ASK("temperature", about(h), 2); *out = atoi(v[0]); return 0; }
int nvmlDeviceGetCurrentClocksEventReasons(void *h, u64 *out) { ASK("reasons", about(h), 2); *out = strtoull(v[0], 0, 0); return 0; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *h, u64 *out) { ASK("old_reasons", about(h), 2); *out = strtoull(v[0], 0, 0); return 0; }
int nvmlDeviceGetTotalEccErrors(void *h, int type, int counter, u64 *out) {
    ASK(type ? "uncorrected" : "corrected", about(h), 2); *out = atoll(v[0]); return counter ? NOT_SUPPORTED : 0;
}
int nvmlDeviceGetMigMode(void *h, unsigned *current, unsigned *pending) { ASK("mig_mode", about(h), 2); *current = *pending = atoi(v[0]); return 0; }
int nvmlDeviceGetMaxMigDeviceCount(void *h, unsigned *count) { ASK("mig_count", about(h), 2); *count = atoi(v[0]); return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *h, unsigned index, void **out) {
    char text[24]; snprintf(text, sizeof text, "%s.%u", about(h), index);
    ASK("mig_handle", text, 2); *out = handle_of(atoi(v[0])); return 0;
}

struct process { unsigned pid; u64 used; unsigned instance, compute; };
int nvmlDeviceGetComputeRunningProcesses_v3(void *h, unsigned *count, struct process *out) {
    ASK("processes", about(h), 32); /* PID BYTES PID BYTES ...; 0 0 for none */
    unsigned there = atoi(v[0]) ? n / 2 : 0;
    if (!out || *count < there) { *count = there; return there ? INSUFFICIENT_SIZE : 0; }
    for (unsigned i = 0; i < there; i++) out[i] = (struct process){atoi(v[2 * i]), strtoull(v[2 * i + 1], 0, 0), 0, 0};
    *count = there; return 0;
}
struct sample { unsigned pid; u64 at; unsigned sm, memory, encoder, decoder; };
int nvmlDeviceGetProcessUtilization(void *h, struct sample *out, unsigned *count, u64 since) {
    ASK("samples", about(h), 30); /* PID AT PERCENT ... */
    unsigned there = 0;
    for (int i = 0; i + 2 < n; i += 3) {
        if (strtoull(v[i + 1], 0, 0) <= since) continue;
        if (out) out[there] = (struct sample){atoi(v[i]), strtoull(v[i + 1], 0, 0), atoi(v[i + 2]), 0, 0, 0};
        there++;
    }
    *count = there;
    return !there ? 6 : out ? 0 : INSUFFICIENT_SIZE;
}

static int events_given;
int nvmlEventSetCreate(void **set) { ASK("events", "-", 2); *set = handle_of(0); return 0; }
int nvmlEventSetFree(void *set) { return 0; }
int nvmlDeviceRegisterEvents(void *h, u64 types, void *set) { ASK("register", about(h), 2); return types == 8 ? 0 : 2; }
struct event { void *device; u64 type, data; unsigned instance, compute; };
int nvmlEventSetWait_v2(void *set, struct event *out, unsigned timeout) {
    ASK("xids", "-", 32); /* HANDLE NUMBER HANDLE NUMBER ...: all since the start */
    if (events_given >= n / 2) return TIMEOUT;
    *out = (struct event){handle_of(atoi(v[2 * events_given])), 8, atoi(v[2 * events_given + 1]), 0, 0};
    events_given++;
    return 0;
}
