/* For libraries that stand for a GPU driver's in tests: answers from the file that SCRIPT names, read anew at each call.
 *
 * Its lines:  FUNCTION HANDLE VALUE...   or   FUNCTION HANDLE error NUMBER
 * HANDLE is what the answer is about, a number, or - for none. Without a line the answer is NOT_SUPPORTED.
 * Who includes this defines both.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int answer(const char *function, const char *handle, char values[][96], int most, int *found) {
    char line[1024], name[128], about[16];
    FILE *file = fopen(getenv(SCRIPT), "r");
    *found = 0;
    if (!file) return 999;
    while (fgets(line, sizeof line, file)) {
        int at = 0, step;
        if (sscanf(line, "%127s %15s%n", name, about, &at) < 2) continue;
        if (strcmp(name, function) || strcmp(about, handle)) continue;
        while (*found < most && sscanf(line + at, " %95s%n", values[*found], &step) == 1) at += step, (*found)++;
        break;
    }
    fclose(file);
    if (!*found) return NOT_SUPPORTED;
    return strcmp(values[0], "error") ? 0 : atoi(values[1]);
}

static const char *about(void *handle) {
    static char text[16];
    snprintf(text, sizeof text, "%d", (int)(size_t)handle - 1);
    return text;
}
static void *handle_of(int number) { return (void *)(size_t)(number + 1); }

#define ASK(function, handle, most) \
    char v[most][96]; int n; int error = answer(function, handle, v, most, &n); if (error) return error
