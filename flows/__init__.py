"""WHEN: order, retries, concurrency, deployments. The only place that knows Prefect."""

from flows.keep_memory_small import choose_arrow_pool

choose_arrow_pool()  # before anyone imports pyarrow
