"""FIFO over a file of trades in Python's decimal: the peer of the exact fold.

Reads `B quantity price` or `S quantity price` a line. Then, for each line on standard input, folds them once and
answers `nanoseconds realized cash held cost`.
"""

import sys
import time
from collections import deque
from decimal import Context, Decimal, Inexact, setcontext

# Nothing here needs rounding, and what would is told.
setcontext(Context(prec=34, traps=[Inexact]))

trades = []
with open(sys.argv[1]) as lines:
    for line in lines:
        kind, quantity, price = line.split()
        trades.append((kind == "B", Decimal(quantity), Decimal(price)))


def fold():
    zero = Decimal(0)
    realized = cash = held = zero
    lots = deque()
    for buys, quantity, price in trades:
        if buys:
            lots.append([quantity, price])
            cash -= quantity * price
            held += quantity
            continue
        cash += quantity * price
        held -= quantity
        left = quantity
        while left:
            lot = lots[0]
            taken = min(left, lot[0])
            realized += taken * (price - lot[1])
            lot[0] -= taken
            left -= taken
            if not lot[0]:
                lots.popleft()
    cost = sum((quantity * price for quantity, price in lots), zero)
    return realized, cash, held, cost


for _ in sys.stdin:
    started = time.perf_counter_ns()
    figures = fold()
    took = time.perf_counter_ns() - started
    print(took, *figures, flush=True)
