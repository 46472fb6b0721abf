/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Stands where libbpf's header of this name stands. That one swaps constants by
 * shifts whose bits fall off, which the sanitizer for shifts of ours would report.
 */
#ifndef FUZZ_BPF_ENDIAN_H
#define FUZZ_BPF_ENDIAN_H

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "only machines of little endian are supported here"
#endif

#define bpf_htons(x) ((__be16)__builtin_bswap16(x))
#define bpf_ntohs(x) ((__u16)__builtin_bswap16(x))
#define bpf_cpu_to_be64(x) ((__be64)__builtin_bswap64(x))
#define bpf_be64_to_cpu(x) ((__u64)__builtin_bswap64(x))

#endif /* FUZZ_BPF_ENDIAN_H */
