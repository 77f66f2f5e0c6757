// SPDX-License-Identifier: Apache-2.0

import Between

print(products.count == 4 ? "none is missing" : "some are missing")
