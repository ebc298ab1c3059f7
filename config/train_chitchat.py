# From scratch, offline: about 14M parameters learn small talk from the Chit-Chat Challenge within minutes on a CPU.
# First: python data/chitchat/prepare.py --tokenizer=train:8192
out_dir = "out-chitchat"
data_dir = "data/chitchat"

# 6 x 384 with 8,192 tokens: 10.6M parameters in the blocks, 3.1M in the embedding. A tenth of GPT-2, and a vocabulary
# that spends few of them on words nobody says here.
n_layer = 6
n_head = 6
n_embd = 384
block_size = 256  # half of all conversations whole, and about 10 turns of the long ones

# Few tokens pass within minutes: many small steps, Muon for the matrices, everybody's words and not the bot's alone, a
# rate that stays high and then falls to zero. bench.py --what=quality has what that gains.
batch_size = 8
muon = True
learn = "all"
schedule = "linear"
min_lr = 0.0
learning_rate = 4e-3
warmup_iters = 20
max_iters = 6000  # two epochs; --max_minutes=4 ends sooner, and the schedule adapts
eval_interval = 250
eval_iters = 20  # 41k tokens of val
