# The base learns English: 16M parameters, on everybody's words. See runs/base.sh.
data_dir = "data/base/language"
out_dir = "out-base/language"
n_layer = 8
n_head = 12
n_embd = 384
block_size = 512
wpe_init = "sinusoidal"
learn = "all"

batch_size = 8
muon = True
muon_lr = 0.01
learning_rate = 1e-3
schedule = "linear"
decay_from = 0.9  # the chat stage goes on from it
min_lr = 0.0
beta2 = 0.98
weight_decay = 0.1
warmup_iters = 300
max_iters = 60_000  # 240M tokens
eval_interval = 250
eval_iters = 20
patience = 0
copy_probe = True
