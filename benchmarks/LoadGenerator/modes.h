// SPDX-License-Identifier: Apache-2.0

#ifndef LOAD_GENERATOR_MODES_H
#define LOAD_GENERATOR_MODES_H

#include "options.h"

void keep_open(const options *options);
void storm(const options *options);
void echo(const options *options);
void stuck(const options *options);
void relay(const options *options);

// How many connections stuck makes, and how many of them may be open at the same time.
int stuck_connections(const options *options);
int stuck_at_once(const options *options);

#endif
