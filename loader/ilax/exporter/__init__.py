# SPDX-License-Identifier: Apache-2.0
"""The pinned maps as Prometheus metrics.

Everything is read when it is asked for, through handles that the kernel lets read
only. What is kept between two scrapes is said by the metrics themselves: how often
this exporter failed, and how many mappings there were at the last count.

    from prometheus_client import REGISTRY
    from ilax.exporter.collector import Collector

    REGISTRY.register(Collector())
"""
