# SPDX-License-Identifier: Apache-2.0
"""One file says what a host should be; the maps are made to say the same.

Reading: `reader`, `keys`, `positions`, `problems`, `cross_checks` and `placement`
make a `document` of a file, or tell all that is wrong with it. Comparing: `host`
finds what it names, `live` reads what is in force, `difference*` tells them apart,
`report` says it in words. Changing: `execution` and `steps`. Back: `export`.
"""
