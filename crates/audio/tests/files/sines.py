"""Writes st.wav and mono.wav, the sounds in the files beside this one."""
import math, struct, wave

def write(name, rate, length, frequencies):
    with wave.open(name, "wb") as file:
        file.setnchannels(len(frequencies))
        file.setsampwidth(2)
        file.setframerate(rate)
        for n in range(length):
            for f in frequencies:
                file.writeframes(struct.pack("<h", round(16384 * math.sin(math.tau * f * n / rate))))

write("st.wav", 44100, 13230, [440, 660])
write("mono.wav", 16000, 4000, [440])
