"""One cell of the matrix: what a client does in one respect. Its line is `ok`, `FAILED`, `skipped`, or `no` for
what is known to be missing, then the row, the column, and what was seen."""

import traceback


async def cell(row, column, check):
    """A check returns what it has seen, and raises if that is wrong; the other cells of its row run all the same."""
    try:
        print(f"ok      {row} | {column} | {await check()}", flush=True)
    except Exception as error:  # Whatever a client raises is its verdict.
        print(f"FAILED  {row} | {column} | {type(error).__name__}: {error}", flush=True)
        print("        " + traceback.format_exc().replace("\n", "\n        "), flush=True)
