"""Run functions at once: one function for every host in a thread pool, several functions, or one in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Generic, TypeVar

from flambe_ansible.errors import FlambeAnsibleError
from flambe_ansible.hosts import Host

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
WORKERS = 32


def on_each(
    hosts: Sequence[Host], work: Callable[[Host], Result], *, cancel: Callable[[], None] | None = None
) -> dict[str, Result]:
    """Call a function for every host at once in separate threads, and return the results by host name.

    ``cancel`` is called if the calling thread is interrupted; it should make the calls end soon. If several hosts fail,
    the first host's error is raised with all messages.
    """
    if not hosts:
        return {}
    with ThreadPoolExecutor(max_workers=min(len(hosts), WORKERS), thread_name_prefix="flambe-host") as pool:
        try:
            futures = {host.name: pool.submit(work, host) for host in hosts}
            wait(futures.values())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            if cancel:
                cancel()
            raise
    errors = [error for future in futures.values() if (error := future.exception())]
    if errors:
        raise join(errors)
    return {name: future.result() for name, future in futures.items()}


def together(first: Callable[[], Any], *others: Callable[[], Any]) -> list[Any]:
    """Call functions at once, and return their results in order; the error of one is raised.

    The first is called in this thread. Its error or Ctrl-C is raised at once, without waiting for the others.
    """
    futures: list[Future[Any]] = [Future() for _ in others]

    def call(work: Callable[[], Any], future: Future[Any]) -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # raised in the calling thread
            future.set_exception(error)

    for work, future in zip(others, futures, strict=True):
        threading.Thread(target=call, args=(work, future), name="flambe-work", daemon=True).start()
    return [first(), *(future.result() for future in futures)]


class Background(Generic[Result]):
    """One call of a function, in a separate thread. Its failure is ignored: the caller does the work again."""

    def __init__(self, work: Callable[[], Result], *, name: str) -> None:
        self._work = work
        self._result: Result | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wait(self) -> Result | None:
        """Wait for the end of the call, and return its result; None if it failed."""
        self._thread.join()
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._work()
        except Exception:
            logger.debug("%s failed", self._thread.name, exc_info=True)


def join(errors: Sequence[BaseException]) -> BaseException:
    """Return the first of several hosts' errors, with the messages of all."""
    first = errors[0]
    messages = [error.message for error in errors if isinstance(error, FlambeAnsibleError)]
    if isinstance(first, FlambeAnsibleError) and len(messages) == len(errors) > 1:
        first.message = "\n".join(dict.fromkeys(messages))
        first.args = (first.message,)
    return first
