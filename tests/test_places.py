import pytest

from thawlab.places import Unknown, places


def never(_pixels):
    raise RuntimeError("one size only")


@pytest.mark.parametrize(
    ("shape", "double", "expected"),
    [
        pytest.param((2, 64), (2, 64), (), id="pooled already"),
        pytest.param((2, 64, 8, 8), (2, 64, 16, 16), (2, 3), id="channels first"),
        pytest.param((2, 8, 8, 64), (2, 16, 16, 64), (1, 2), id="channels last"),
        pytest.param((2, 8, 8, 8), (2, 8, 16, 16), (2, 3), id="as many channels as rows"),
        pytest.param((2, 65, 192), (2, 257, 192), (1,), id="tokens"),
        pytest.param((2, 192, 64), (2, 192, 256), (2,), id="tokens last"),
        pytest.param((2, 4, 196, 192), (2, 16, 196, 192), (1, 2), id="blocks of tokens, channels last (NesT)"),
        pytest.param((2, 4, 7, 7, 96), (2, 16, 7, 7, 96), (1, 2, 3), id="windows, channels last"),
    ],
)
def test_places_are_what_follows_the_size_of_the_image(shape, double, expected):
    assert places({0: shape}, 64, {32: {0: shape}, 128: {0: double}}.__getitem__, None) == [expected]


@pytest.mark.parametrize(
    ("shape", "told", "expected"),
    [
        pytest.param((2, 65, 192), None, (1,), id="tokens"),
        pytest.param((2, 4, 4, 4), "NHWC", (1, 2), id="the model says"),
        pytest.param((2, 64, 8, 8), None, (2, 3), id="the square"),
        pytest.param((2, 8, 8, 64), None, (1, 2), id="the square, channels last"),
    ],
)
def test_where_one_size_runs_the_model_or_the_square_decides(shape, told, expected):
    assert places({3: shape}, 64, never, told) == [expected]


@pytest.mark.parametrize("shape", [(2, 4, 4, 4), (2, 3, 5, 7), (2, 3, 4, 4, 4)])
def test_else_it_is_unknown(shape):
    with pytest.raises(Unknown, match="x".join(map(str, shape[1:]))):
        places({0: shape}, 64, never, None)
