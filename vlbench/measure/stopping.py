from statistics import median

from vlbench.measure.statistics import median_interval


def enough(by_restart_ms, within):
    interval = median_interval(sorted(by_restart_ms))
    middle = median(by_restart_ms)
    return interval is not None and max(interval[1] - middle, middle - interval[0]) <= within * middle
