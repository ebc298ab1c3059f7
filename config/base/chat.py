# The base learns to answer: the bot's words alone, at a rate that falls to nothing. See runs/base.sh.
init_from = "out-base/language"
data_dir = "data/base/chat"
out_dir = "out-base/chat"
block_size = 512
learn = "bot"

batch_size = 8
muon = True
muon_lr = 0.01
learning_rate = 6e-4
schedule = "linear"
decay_from = 0.0
min_lr = 0.0
beta2 = 0.98
weight_decay = 0.1
warmup_iters = 100
max_iters = 6000  # more are learned by heart: val rises
eval_interval = 500
eval_iters = 20
patience = 0
copy_probe = True
