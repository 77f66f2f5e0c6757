// SPDX-License-Identifier: Apache-2.0

#include "measure.h"

#include "failure.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_clock(clockid_t clock) {
    struct timespec time;
    if (clock_gettime(clock, &time) != 0) {
        fail_errno("cannot read a clock");
    }
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

uint64_t now(void) {
    return read_clock(CLOCK_MONOTONIC);
}

static uint64_t server_cpu(const settings *settings) {
    clockid_t clock;
    if (settings->server == 0) {
        return 0;
    }
    if (clock_getcpuclockid(settings->server, &clock) != 0) {
        fail("process %d has no clock", (int)settings->server);
    }
    return read_clock(clock);
}

void measure_begin(measure *self, const settings *settings) {
    self->opens = now() + settings->warm_up;
    self->closes = self->opens + settings->duration;
}

bool measure_is_over(measure *self, const settings *settings) {
    uint64_t time = now();
    if (!self->is_open && time >= self->opens) {
        self->is_open = true;
        self->opens = time;
        self->closes = time + settings->duration; // on a busy machine this may be called late
        self->cpu_before = server_cpu(settings);
    }
    if (time < self->closes) {
        return false;
    }
    self->closes = time;
    self->cpu_after = server_cpu(settings);
    return true;
}

void measure_count(measure *self, uint64_t since, bool is_resumed) {
    if (self->is_open) {
        self->count++;
        self->resumed += is_resumed;
        latency_add(&self->latencies, now() - since);
    }
}

void measure_print(measure *self, const settings *settings) {
    double seconds = (double)(self->closes - self->opens) / 1e9;
    printf("{\"mode\": \"%s\", \"count\": %llu, \"resumed\": %llu, \"seconds\": %.6f, "
           "\"rate\": %.3f, \"server_cpu_ns\": %llu, \"late_ns\": %llu, \"latency_ns\": ",
           settings->mode, (unsigned long long)self->count, (unsigned long long)self->resumed,
           seconds, (double)self->count / seconds,
           (unsigned long long)(self->cpu_after - self->cpu_before),
           (unsigned long long)self->latest);
    latency_print(&self->latencies, stdout);
    printf("}\n");
    fflush(stdout);
}
