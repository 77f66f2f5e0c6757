// SPDX-License-Identifier: Apache-2.0

#ifndef LOAD_GENERATOR_MODES_H
#define LOAD_GENERATOR_MODES_H

#include "options.h"

void keep_open(const options *options);
void storm(const options *options);
void echo(const options *options);

#endif
