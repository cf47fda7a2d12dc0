"""What is learned of the result endpoint."""

from worker.core.result_endpoint import ENOUGH, ResultEndpoint


def test_a_few_jobs_at_a_time_try_while_nothing_is_known() -> None:
    endpoint = ResultEndpoint()
    for _ in range(ENOUGH):
        assert endpoint.ask_first()
    assert not endpoint.ask_first()
    endpoint.says_nothing()
    assert endpoint.ask_first()


def test_once_it_has_told_of_a_running_job_all_ask_it() -> None:
    endpoint = ResultEndpoint()
    assert endpoint.ask_first()
    endpoint.says_running()
    for _ in range(10 * ENOUGH):
        assert endpoint.ask_first()


def test_refusals_in_a_row_end_the_trials_and_one_good_answer_forgives_them() -> None:
    endpoint = ResultEndpoint()
    for _ in range(ENOUGH - 1):
        assert endpoint.ask_first()
        endpoint.refused()
    assert endpoint.ask_first()
    endpoint.says_running()
    for _ in range(ENOUGH):
        assert endpoint.ask_first()
        endpoint.refused()
    assert not endpoint.ask_first()
