// SPDX-License-Identifier: Apache-2.0

// Whether the server's memory grows with the number of connections. See soak.h.

#include "soak.h"

#include <stdio.h>
#include <unistd.h>

enum { MOST_SAMPLES = 100000 };

static struct {
    double connections;
    double bytes;
} samples[MOST_SAMPLES];

static size_t count;

void memory_sample(pid_t pid, uint64_t connections) {
    char path[64];
    long resident = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file) {
        return;
    }
    bool read = fscanf(file, "%*s %ld", &resident) == 1;
    fclose(file);
    if (read && count < MOST_SAMPLES) {
        samples[count].connections = (double)connections;
        samples[count].bytes = (double)resident * (double)sysconf(_SC_PAGESIZE);
        count++;
    }
}

void memory_print_tenths(uint64_t total) {
    double sums[10] = {0};
    size_t counts[10] = {0};
    for (size_t i = 0; i < count; i++) {
        size_t tenth = (size_t)(samples[i].connections * 10 / ((double)total + 1));
        sums[tenth] += samples[i].bytes;
        counts[tenth]++;
    }
    printf("memory in MB, a number for each tenth:");
    for (size_t i = 0; i < 10; i++) {
        if (counts[i] > 0) {
            printf(" %.2f", sums[i] / (double)counts[i] / 1e6);
        }
    }
    puts("");
}

void memory_trend(uint64_t total, int tenths, double *growth, double *mean) {
    size_t first = 0;
    while (first < count && samples[first].connections < (double)total * (10 - tenths) / 10) {
        first++;
    }
    double n = (double)(count - first);
    double x = 0;
    double y = 0;
    for (size_t i = first; i < count; i++) {
        x += samples[i].connections / n;
        y += samples[i].bytes / n;
    }
    double together = 0;
    double alone = 0;
    for (size_t i = first; i < count; i++) {
        together += (samples[i].connections - x) * (samples[i].bytes - y);
        alone += (samples[i].connections - x) * (samples[i].connections - x);
    }
    *mean = y;
    *growth = alone > 0 ? together / alone * ((double)total * tenths / 10) : 0;
}
