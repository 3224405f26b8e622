/* Stands for libamd_smi.so in tests: answers as ../script.h says, from the file that AMDSMI_SCRIPT names.
 *
 * HANDLE is 0, 1 ... for a GPU, - for none. Types and numbers are those of amdsmi.h (7.0); the functions that are
 * not here are made by library.py, and say "not supported".
 */
#define SCRIPT "AMDSMI_SCRIPT"
#define NOT_SUPPORTED 2
#include "../script.h"

int amdsmi_init(uint64_t flags) { char v[2][96]; int n, e = answer("init", "-", v, 2, &n); return e == NOT_SUPPORTED ? 0 : e; }
int amdsmi_shut_down(void) { return 0; }

/* Each GPU is the only one of its socket; "gpus - 0 1" are their handles. */
int amdsmi_get_socket_handles(uint32_t *count, void **out) {
    ASK("gpus", "-", 16);
    if (out) for (int i = 0; i < n && i < (int)*count; i++) out[i] = handle_of(atoi(v[i]));
    *count = n; return 0;
}
int amdsmi_get_processor_handles(void *socket, uint32_t *count, void **out) {
    if (out) out[0] = socket;
    *count = 1; return 0;
}

struct enumeration { uint32_t render, card, hsa, hip; char uuid[256]; };
int amdsmi_get_gpu_enumeration_info(void *h, struct enumeration *out) {
    ASK("enumeration", about(h), 3); /* RENDER HIP-ID HIP-UUID */
    out->render = atoi(v[0]), out->hip = atoi(v[1]); snprintf(out->uuid, sizeof out->uuid, "%s", v[2]); return 0;
}
int amdsmi_get_gpu_device_uuid(void *h, uint32_t *length, char *out) { ASK("uuid", about(h), 2); snprintf(out, *length, "%s", v[0]); return 0; }
int amdsmi_get_gpu_asic_info(void *h, char *market_name) { ASK("name", about(h), 2); snprintf(market_name, 256, "%s", v[0]); return 0; }
int amdsmi_get_gpu_memory_usage(void *h, int type, uint64_t *out) { ASK("memory", about(h), 2); *out = atoll(v[0]); return type ? NOT_SUPPORTED : 0; }
int amdsmi_get_gpu_memory_total(void *h, int type, uint64_t *out) { ASK("memory", about(h), 2); if (n > 1) *out = atoll(v[1]); return type ? NOT_SUPPORTED : 0; }
int amdsmi_get_gpu_total_ecc_count(void *h, uint64_t *out) { ASK("errors", about(h), 2); out[0] = atoll(v[0]); out[1] = atoll(v[1]); return 0; }

struct metrics { /* amdsmi_gpu_metrics_t, as far as the fields below; all ones is "not available" */
    uint16_t size; uint8_t format, content;
    uint16_t temperature_edge, temperature_hotspot, temperature_mem, temperature_vr[3];
    uint16_t average_gfx_activity, average_umc_activity, average_mm_activity, average_socket_power;
    uint64_t energy_accumulator, system_clock_counter;
    uint16_t average_frequencies[7], current_clocks[7];
    uint32_t throttle_status;
    uint16_t fan, pcie_width, pcie_speed;
    uint32_t gfx_activity_acc, mem_activity_acc;
    uint16_t temperature_hbm[4];
    uint64_t firmware_timestamp;
    uint16_t voltages[3];
    uint64_t indep_throttle_status;
    uint16_t current_socket_power, vcn_activity[4];
    uint32_t gfxclk_lock_status;
    uint16_t xgmi_width, xgmi_speed;
    uint64_t pcie_bandwidth_acc, pcie_bandwidth_inst, pcie_counts[3], xgmi_data[16];
    uint16_t current_gfxclks[8], current_other_clks[12], jpeg_activity[32];
    uint32_t pcie_naks[2];
    uint64_t accumulation_counter, prochot_residency_acc, ppt_residency_acc, socket_thm_residency_acc,
        vr_thm_residency_acc, hbm_thm_residency_acc;
};
int amdsmi_get_gpu_metrics_info(void *h, struct metrics *out) {
    ASK("metrics", about(h), 32); /* NAME VALUE NAME VALUE ... */
    memset(out, 0xff, sizeof *out);
    for (int i = 0; i + 1 < n; i += 2) {
        uint64_t value = strtoull(v[i + 1], 0, 0);
#define SET(field) if (!strcmp(v[i], #field)) { out->field = value; continue; }
        SET(temperature_edge) SET(temperature_hotspot) SET(average_gfx_activity) SET(average_socket_power)
        SET(current_socket_power) SET(indep_throttle_status) SET(accumulation_counter) SET(prochot_residency_acc)
        SET(ppt_residency_acc) SET(socket_thm_residency_acc) SET(vr_thm_residency_acc) SET(hbm_thm_residency_acc)
        return 1;
    }
    return 0;
}
