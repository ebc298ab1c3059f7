# A run of seconds, to see that everything works; what it says is noise.
out_dir = "out-tiny"
data_dir = "data/chitchat"
n_layer = 2
n_head = 2
n_embd = 64
block_size = 128
batch_size = 4
max_iters = 20
warmup_iters = 2
learning_rate = 3e-3  # small models bear high rates
eval_interval = 10
eval_iters = 4
log_interval = 5
