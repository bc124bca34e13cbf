import contextlib
import inspect

import pytest
import timm.optim
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_runs import carried_out, from_weights

from thawlab.errors import UserError
from thawlab.freezing import parameter_groups, set_trainable
from thawlab.optimizer import LOOKAHEAD, REFUSED, OptimizerSpec, arguments, build_optimizer, names, refusal
from thawlab.schedule import ScheduleSpec, build_scheduler, factor
from thawlab.stages import Stage
from thawlab.strategy import Strategy, Thaw, lay


def stepped(spec, gradients, rate, decay):
    """One number, after a step for each gradient."""
    weight = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = build_optimizer(spec, [{"params": [weight], "lr": rate, "weight_decay": decay}])
    for gradient in gradients:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    return weight.item()


def sgd_by_hand(gradients, rate, decay, momentum):
    weight, velocity = 2.0, 0.0
    for gradient in gradients:
        velocity = momentum * velocity + gradient + decay * weight
        weight -= rate * velocity
    return weight


def adamw_by_hand(gradients, rate, decay):
    """Loshchilov & Hutter 2019, algorithm 2, with the decay scaled by the rate, as in torch."""
    weight, m, v = 2.0, 0.0, 0.0
    for t, gradient in enumerate(gradients, 1):
        weight -= rate * decay * weight
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        weight -= rate * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
    return weight


GRADIENTS = [0.3, -0.7, 1.1, 0.0, 0.2]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd(momentum):
    spec = OptimizerSpec("sgd", lr=99.0, momentum=momentum)
    assert stepped(spec, GRADIENTS, 0.1, 0.01) == pytest.approx(sgd_by_hand(GRADIENTS, 0.1, 0.01, momentum))


def test_adamw():
    assert stepped(OptimizerSpec("adamw", lr=99.0), GRADIENTS, 0.1, 0.01) == pytest.approx(
        adamw_by_hand(GRADIENTS, 0.1, 0.01)
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(OptimizerSpec(), lambda groups: torch.optim.AdamW(groups, fused=True), id="adamw"),
        pytest.param(
            OptimizerSpec("adamw", options={"fused": False}), lambda groups: torch.optim.AdamW(groups), id="adamw-plain"
        ),
        pytest.param(OptimizerSpec("sgd"), lambda groups: torch.optim.SGD(groups, momentum=0.9, fused=True), id="sgd"),
        pytest.param(
            OptimizerSpec("rmsprop", momentum=0.0, options={"alpha": 0.99}),
            lambda groups: torch.optim.RMSprop(groups),
            id="rmsprop",
        ),
    ],
)
def test_a_name_of_torchs_means_torchs_to_the_last_bit(spec, expected):
    ends = []
    for build in (lambda groups: build_optimizer(spec, groups), expected):
        torch.manual_seed(0)
        weights = [torch.nn.Parameter(torch.randn(40, 7)), torch.nn.Parameter(torch.randn(7))]
        optimizer = build(
            [{"params": [w], "lr": 0.01 * (i + 1), "weight_decay": 0.1 * i} for i, w in enumerate(weights)]
        )
        for _ in range(5):
            for weight in weights:
                weight.grad = torch.randn_like(weight)
            optimizer.step()
        ends.append(weights)
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


@pytest.mark.parametrize("name", ["adagrad", "adam", "adamw", "momentum", "nesterov", "sgd"])
def test_a_fused_step_is_the_plain_one_but_for_rounding(name):
    ends = []
    for options in ({}, {"fused": False}):
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(8, 4, 3, 3).contiguous(memory_format=torch.channels_last))
        group = {"params": [weight, torch.nn.Parameter(torch.zeros(3))], "lr": 0.01, "weight_decay": 0.1}
        optimizer = build_optimizer(OptimizerSpec(name, options=options), [group])
        for _ in range(5):
            weight.grad = torch.randn(8, 4, 3, 3)  # of another memory format: AccumulateGrad does not promise one
            optimizer.step()
        ends.append(weight.detach())
        assert optimizer.param_groups[0]["fused"] is (not options)
    assert torch.allclose(*ends, rtol=1e-5, atol=1e-6)


def test_a_weight_with_gaps_in_its_memory_is_not_stepped_in_one_pass():
    weight = torch.nn.Parameter(torch.ones(4, 6)[:, ::2])
    optimizer = build_optimizer(
        OptimizerSpec("sgd", momentum=0.0), [{"params": [weight], "lr": 0.01, "weight_decay": 0.0}]
    )
    weight.grad = torch.ones(4, 3)
    optimizer.step()
    assert torch.equal(weight.detach(), torch.full((4, 3), 0.99))


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4))
        self.body = torch.nn.Sequential(torch.nn.Conv2d(4, 6, 3, bias=False), torch.nn.BatchNorm2d(6))
        self.head = torch.nn.Linear(6, 5)

    def forward(self, images):
        return self.head(self.body(self.stem(images).relu()).relu().mean((2, 3)))


def stages_of(network):
    found = []
    for name, module in network.named_children():
        own = tuple(f"{name}.{inner}" for inner, _ in module.named_parameters())
        found.append(Stage(name, own, (name,), sum(p.numel() for p in module.parameters())))
    return tuple(found)


class Trained:
    """A tiny network under a plan: body and head train from the start, the stem from epoch (here: step) 3 on."""

    STEPS = 6

    def __init__(self, name, decay=0.05, rate=0.5, steps=STEPS):
        torch.manual_seed(0)
        self.network, self.spec = Network(), OptimizerSpec(name, lr=0.01, weight_decay=decay)
        self.stages = stages_of(self.network)
        self.plan = lay(
            Strategy("s", thaw=Thaw("schedule", schedule={"stem": 3}), rates={"body": 0.01 * rate}), self.stages, 0.01
        )
        self.optimizer = self.build()
        self.states = [self.state()]
        for step in range(steps):
            self.step(step)

    def build(self):
        optimizer = build_optimizer(
            self.spec, parameter_groups(self.network, self.stages, self.plan, self.spec.weight_decay)
        )
        self.scheduler = build_scheduler(ScheduleSpec("cosine"), optimizer, self.STEPS + 1)["scheduler"]
        return optimizer

    def state(self):
        return {name: p.detach().clone() for name, p in self.network.named_parameters()}

    def step(self, step):
        set_trainable(self.network, self.stages, self.plan.training(step))
        images, labels = torch.randn(8, 3, 8, 8), torch.randint(5, (8,))

        def closure():
            self.optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(self.network(images), labels)
            loss.backward()
            return loss

        self.check_rates(step)
        self.optimizer.step(closure)
        self.scheduler.step()
        self.states.append(self.state())

    def check_rates(self, step):
        share = factor(ScheduleSpec("cosine"), step, self.STEPS + 1)
        for group in self.optimizer.param_groups:
            assert group["lr"] == pytest.approx(share * self.plan.row(group["name"].partition("/")[0]).rate)
            assert group["weight_decay"] == (0 if group["name"].endswith("/no_decay") else self.spec.weight_decay)

    def moved(self, stage, since, until):
        """Norm of what a stage's matrix moved by between two states."""
        return (self.states[until][f"{stage}.0.weight"] - self.states[since][f"{stage}.0.weight"]).norm().item()


EVERY = [*timm.optim.list_optimizers(), f"{LOOKAHEAD}adamw", f"{LOOKAHEAD}sgd"]
USABLE = [*names(), f"{LOOKAHEAD}adamw", f"{LOOKAHEAD}sgd"]
# Allocates its sums when it is made, for frozen parameters too; it leaves them alone all the same.
ALLOCATES_AT_ONCE = ("adagrad",)


def test_timms_whole_list_is_either_usable_or_refused_with_its_reason():
    assert {*USABLE} | {name for name in EVERY if name.startswith(LOOKAHEAD) or refusal(name)} == {*EVERY}
    assert len(USABLE) > 80
    for name in {*EVERY} - {*USABLE}:
        with pytest.raises(UserError, match=rf"optimizer\.name is '{name}', which cannot be used here: "):
            OptimizerSpec(name)
    assert {refusal(name) for name in EVERY if not name.startswith(LOOKAHEAD)} - {None} == {*REFUSED.values()}


@pytest.mark.parametrize("name", USABLE)
def test_every_optimizer_keeps_the_plan(name):
    """Frozen to the last bit and stateless until it thaws, at its stage's rate, with its stage's decay."""
    done = Trained(name)
    first, thawing, last = done.states[0], done.states[3], done.states[-1]
    assert all(torch.equal(first[n], thawing[n]) for n in first if n.startswith("stem"))
    assert not any(torch.equal(first[n], last[n]) for n in first)
    assert all(torch.isfinite(p).all() for p in last.values())
    frozen = Trained(name, steps=3)
    held = {id(p) for p in frozen.network.stem.parameters()} & {id(p) for p in frozen.optimizer.state}
    assert bool(held) == (name in ALLOCATES_AT_ONCE)
    slower = Trained(name, rate=0.05, decay=0.0, steps=2)
    faster = Trained(name, rate=0.5, decay=0.0, steps=2)
    # Most are linear in the rate; MADGRAD takes its third root squared.
    assert faster.moved("body", 0, 2) > 3 * slower.moved("body", 0, 2)
    heavy = Trained(name, decay=5.0)
    assert heavy.moved("body", 0, -1) != pytest.approx(done.moved("body", 0, -1), rel=1e-6), "the decay is lost"


@pytest.mark.parametrize("name", ["adamw", "lion", "muon", "adafactor", "lambcd", "lookahead_adamw"])
def test_no_norm_or_bias_decays(name):
    """In the first step: later ones see other weights."""
    plain, decayed = (Trained(name, decay=decay, steps=1).states for decay in (0.0, 5.0))
    for parameter, value in plain[1].items():
        if value.ndim == 1:
            assert torch.equal(value, decayed[1][parameter])


@pytest.mark.slow
@pytest.mark.parametrize("name", USABLE)
def test_every_optimizers_state_is_plain_and_goes_on_where_it_was(name, tmp_path):
    whole, part = Trained(name), Trained(name, steps=4)
    torch.save((part.optimizer.state_dict(), part.scheduler.state_dict()), tmp_path / "state.pt")
    optimizer, scheduler = torch.load(tmp_path / "state.pt", weights_only=True)
    random = torch.get_rng_state()
    part.optimizer = part.build()
    part.optimizer.load_state_dict(optimizer)
    part.scheduler.load_state_dict(scheduler)
    torch.set_rng_state(random)
    for step in (4, 5):
        part.step(step)
    assert all(torch.equal(part.states[-1][n], tensor) for n, tensor in whole.states[-1].items())


@pytest.mark.parametrize("name", ["adamc", "sgdc"])
def test_corrected_decay_is_by_each_stages_own_peak(name):
    """Defazio 2025: weights shrink by decay * rate^2 / peak, which at each stage's peak is decay * rate."""
    groups = [
        {"params": [torch.nn.Parameter(torch.ones(2, 2))], "lr": rate, "weight_decay": 0.5} for rate in (0.1, 0.01)
    ]
    optimizer = build_optimizer(OptimizerSpec(name, lr=0.1), groups)
    for group in groups:
        group["params"][0].grad = torch.zeros(2, 2)
    optimizer.step()
    for group, rate in zip(groups, (0.1, 0.01), strict=True):
        torch.testing.assert_close(group["params"][0].detach(), torch.full((2, 2), 1 - rate * 0.5))


@given(st.floats(0.5, 0.999), st.floats(0.5, 0.999), st.booleans())
def test_options_reach_the_optimizer(one, other, amsgrad):
    spec = OptimizerSpec(options={"betas": [one, other], "amsgrad": amsgrad})
    optimizer = build_optimizer(spec, [{"params": [torch.nn.Parameter(torch.zeros(1))]}])
    assert optimizer.param_groups[0]["betas"] == (one, other)
    assert optimizer.param_groups[0]["amsgrad"] is amsgrad


def test_an_optimizers_arguments_are_named():
    assert arguments("lion") == ["betas", "caution", "corrected_weight_decay", "maximize", "foreach"]
    assert not {"lr", "weight_decay", "momentum", "params"} & {key for name in names() for key in arguments(name)}


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer.name=muon", "+optimizer.options={ns_steps: 3}"],
        ["trainer.clip_norm=0.1", "trainer.precision=bf16"],  # Lightning refuses to clip for a step that unscales
        pytest.param(["optimizer=lion"], marks=pytest.mark.slow),
        pytest.param(["optimizer=rmsprop"], marks=pytest.mark.slow),
        pytest.param(["optimizer.name=lookahead_adamw"], marks=pytest.mark.slow),
    ],
)
def test_a_run_keeps_its_promises_under(tmp_path, words):
    demo = from_weights(tmp_path, "demo")
    left = carried_out(tmp_path / "run", *demo, *words, "strategy=gradual", "strategy.thaw.epochs=1")
    assert left.record.status == "finished", left.record.reason
    assert left.record.audit["passed"]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_parameter_without_a_gradient_keeps_its_bits_and_takes_no_memory(name):
    """On this rests that frozen stages may be in the optimizer from the first step."""
    frozen, trained = (torch.nn.Parameter(torch.randn(5)) for _ in range(2))
    before = frozen.detach().clone()
    optimizer = build_optimizer(OptimizerSpec(name), [{"params": [frozen, trained], "lr": 0.1, "weight_decay": 0.5}])
    for _ in range(3):
        trained.grad = torch.ones(5)
        optimizer.step()
    assert torch.equal(frozen, before)
    assert frozen not in optimizer.state
    assert trained in optimizer.state


@pytest.mark.parametrize(
    ("values", "says"),
    [
        pytest.param({"name": "adamv"}, r"optimizer\.name is 'adamv'. Did you mean 'adam.*timm\.optim", id="a typo"),
        pytest.param({"name": "lookahead_kron"}, r"lookahead_kron', which cannot be used here: it compiles", id="kron"),
        pytest.param(
            {"options": {"beta": 1}}, r"options\.beta .* adamw has no such argument. Did you mean 'betas'", id="?"
        ),
        pytest.param({"options": {"lr": 1}}, r"options\.lr .*set optimizer\.lr", id="a key of its own"),
        pytest.param({"options": {"betas": [2, 0.9]}}, r"adamw refuses: Invalid beta parameter", id="a bad value"),
        *[
            pytest.param(
                {"name": name, "options": {"betas": betas}},
                rf"options\.betas is .* {name} takes 2 numbers there\. Give, for instance, \[0\.9, 0\.99",
                id=f"{len(betas)} betas of {name}",
            )
            for name in ("adamw", "lion")
            for betas in ([0.9], [0.9, 0.99, 0.9])
        ],
        pytest.param({"options": {"betas": {}}}, r"adamw refuses: KeyError: 0\. Mend", id="numbers of another shape"),
        pytest.param(
            {"name": "adafactor", "options": {"relative_step": True}}, r"the plan gives each stage", id="its own rates"
        ),
        pytest.param(
            {"name": "sgd", "momentum": 0.0, "options": {"nesterov": True}},
            r"momentum=0\.0, but sgd refuses",
            id="both",
        ),
        pytest.param({"lr": 0.0}, r"optimizer\.lr is 0\.0", id="no rate"),
        pytest.param({"weight_decay": -0.1}, r"optimizer\.weight_decay is -0\.1", id="negative decay"),
        pytest.param({"momentum": 0.8}, r"optimizer\.momentum is 0\.8, but adamw takes none", id="momentum of none"),
        pytest.param({"momentum": 1.0}, r"optimizer\.momentum is 1\.0", id="momentum of one"),
    ],
)
def test_what_cannot_work_is_refused(values, says):
    with pytest.raises(UserError, match=says):
        OptimizerSpec(**values)


def test_momentum_is_taken_by_just_those_that_have_an_argument_for_it():
    taking = {
        name
        for name in names()
        if "momentum" in inspect.signature(timm.optim.get_optimizer_class(name, bind_defaults=False)).parameters
    }
    accepted = set()
    for name in names():
        with contextlib.suppress(UserError):
            accepted.add(OptimizerSpec(name, momentum=0.8).name)
    assert accepted == taking
