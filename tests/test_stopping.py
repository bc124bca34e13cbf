import os
import signal
import threading
import time

import pytest

from thawlab.stopping import Stopped, by_signal, heeding


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_with_the_status_that_shells_give_it(number, status):
    with heeding(), pytest.raises(Stopped) as stopped:
        signal.raise_signal(number)
    assert (stopped.value.status, stopped.value.exit_status) == ("interrupted", status)
    assert number.name in stopped.value.reason


def test_while_training_a_signal_waits_for_who_asks():
    with heeding() as stops, stops.deferred():
        assert stops.pending() is None
        signal.raise_signal(signal.SIGTERM)
        assert stops.pending().exit_status == 143
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGINT)


def test_what_may_be_broken_off_is_at_once():
    with heeding() as stops, stops.deferred():
        with pytest.raises(Stopped), stops.at_once():
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped), stops.at_once():
            pytest.fail("it was asked to end before")


def test_the_clock_ends_a_run_too():
    with heeding(timeout_minutes=0.05 / 60) as stops:
        assert stops.pending() is None
        time.sleep(0.1)
        assert stops.pending().status == "timeout"
        assert "launch.timeout_minutes" in stops.pending().reason


def test_a_signal_that_comes_when_time_is_up_is_not_why():
    with heeding(timeout_minutes=0.01 / 60) as stops:
        time.sleep(0.05)
        with pytest.raises(Stopped) as stopped:
            signal.raise_signal(signal.SIGTERM)
        assert stopped.value.status == "timeout"
        assert stops.pending().status == "timeout"


def test_the_first_signal_after_the_clock_still_waits():
    with heeding(timeout_minutes=0.01 / 60) as stops, stops.deferred():
        time.sleep(0.05)
        assert stops.pending().status == "timeout"
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGTERM)


def test_a_worker_process_leaves_signals_to_the_run():
    with heeding() as stops:
        child = os.fork()
        if child == 0:
            try:
                stops.ask(signal.SIGINT)
            except BaseException:
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0


def test_handlers_are_as_they_were_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with heeding():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_the_clock_alone_counts():
    seen = []

    def work():
        with heeding(1) as stops:
            seen.append(stops.pending())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]


def test_no_part_of_a_run_takes_it_for_a_failure_of_its_own():
    assert not isinstance(by_signal(signal.SIGTERM), Exception)
