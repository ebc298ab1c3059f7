# Everyday talk and what every child knows, at a rate that falls to nothing; what was told stays. See runs/base.sh.
init_from = "out-base/recall"
data_dir = "data/base/talk"
out_dir = "out-base/talk"
block_size = 512
learn = "bot"

batch_size = 8
gradient_accumulation_steps = 1
muon = True
muon_lr = 0.004
learning_rate = 2.5e-4
min_lr = 0.0
beta2 = 0.99
weight_decay = 0.05
warmup_iters = 10
max_iters = 2500  # 10.2M tokens
eval_interval = 250
eval_iters = 10
patience = 0
copy_probe = True
schedule = "linear"
decay_from = 0.0
start_share = 0.33  # the mean with where it began keeps what was there: copying above all
