"""WHEN: order, retries, concurrency, deployments. The only place that knows Prefect."""
